"""`fedn trail`: the history of global models."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from fedn.cli.options import as_json, reducer_address
from fedn.cli.reducer_api import ReducerApi
from fedn.storage.blobs import DIGEST
from fedn.trail.file import MODELS, Models
from fedn.trail.reader import verify_file
from fedn.trail.records import lineage_of


def digest_given(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:  # noqa: ARG001
    """A whole hash, or click's complaint."""
    if given is not None and not DIGEST.fullmatch(given):
        raise click.BadParameter("a hash has 64 lower-case hexadecimal digits")
    return given


@click.group()
def trail() -> None:
    """List, export and verify the model trail.

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
        what = (
            f"{record['session']} round {record['round']}"
            if record["session"]
            else f"seed of lineage {lineage_of(record)}"
        )
        weight = sum(c["weight"] for c in record["combiners"])
        click.echo(
            f"{record['seq']:>5}  {when}  {record['model'][:16]}  {what}" + (f"  {weight} examples" if weight else "")
        )


@trail.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--models", type=click.Choice(MODELS), default="all", show_default=True, help="Which models are in it.")
@reducer_address
@as_json
def export(file: Path, models: Models, reducer: str, as_json: bool) -> None:
    """Write the trail to FILE: its records, receipts and models, for `fedn trail verify FILE` anywhere.

    \b
    Example:
      fedn trail export trail.tar
    """
    with ReducerApi(reducer) as api:
        size = api.export_trail(models, file)
    click.echo(json.dumps({"file": str(file), "size": size, "models": models}) if as_json else f"{file}: {size} bytes")


@trail.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--known", metavar="HASH", callback=digest_given, help="Hash of a record that must be in it, noted earlier."
)
@reducer_address
@as_json
def verify(file: Path | None, known: str | None, reducer: str, as_json: bool) -> None:
    """Walk the whole trail and every blob, here on this side; names the first thing that does not hold.

    With FILE, which `fedn trail export` wrote, no reducer is asked. A trail that was cut at its end, or written anew
    as a whole, shows by a hash that you noted earlier: the last line of each verification.

    \b
    Example:
      fedn trail verify
      fedn trail verify trail.tar
    """
    if file is not None:
        verified = verify_file(file, known=known)
    else:
        with ReducerApi(reducer) as api:
            verified = api.verify_trail(known=known)
    if as_json:
        click.echo(json.dumps({"verified": True} | asdict(verified)))
        return
    lineages = f", {verified.lineages} lineages" if verified.lineages > 1 else ""
    click.echo(f"trail verified: {verified.records} records, {verified.blobs} blobs{lineages}")
    if verified.left_out:
        click.echo(f"not checked: {verified.left_out} models, which were left out of the file")
    click.echo(f"last record: {verified.last}")
