"""`fedn trail`: the history of global models."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from fedn.cli.options import as_json, reducer_address
from fedn.cli.reducer_api import ReducerApi


@click.group()
def trail() -> None:
    """List and verify the model trail.

    \b
    Example:
      fedn trail verify
    """


@trail.command("list")
@reducer_address
@as_json
def list_(reducer: str, as_json: bool) -> None:
    """List all records, oldest first.

    \b
    Example:
      fedn trail list
    """
    with ReducerApi(reducer) as api:
        records = api.get("/api/v1/trail")["records"]
    if as_json:
        click.echo(json.dumps(records))
        return
    for record in records:
        when = datetime.fromtimestamp(record["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        what = f"{record['session']} round {record['round']}" if record["session"] else "seed"
        weight = sum(c["weight"] for c in record["combiners"])
        click.echo(
            f"{record['seq']:>5}  {when}  {record['model'][:16]}  {what}" + (f"  {weight} examples" if weight else "")
        )


@trail.command()
@reducer_address
@as_json
def verify(reducer: str, as_json: bool) -> None:
    """Walk the whole trail and every blob, here on this side; names the first thing that does not hold.

    \b
    Example:
      fedn trail verify
    """
    with ReducerApi(reducer) as api:
        verified = api.verify_trail()
    if as_json:
        click.echo(json.dumps({"verified": True, "records": verified.records, "blobs": verified.blobs}))
    else:
        click.echo(f"trail verified: {verified.records} records, {verified.blobs} blobs")
