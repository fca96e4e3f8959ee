"""`fedn predict`: clients apply a model of the trail; what they wrote comes back here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from fedn.cli import failures
from fedn.cli.client_settings import read_object
from fedn.cli.model import full_id
from fedn.cli.options import as_json, reducer_address
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import Unavailable, from_code

LOOK_S = 0.2
MARGIN_S = 120.0  # beyond the round: transfers, a change of leader


@click.command()
@click.option("--model", default="latest", show_default=True, help="A model of the trail, by its id or its beginning.")
@click.option("--clients", "names", multiple=True, metavar="NAME", help="Who is to predict; may be repeated.")
@click.option("--settings", metavar="JSON", help="Client settings, a JSON object.")
@click.option("--round-timeout", type=float, default=300.0, show_default=True, help="Seconds until the round closes.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the answer to this file.")
@reducer_address
@as_json
def predict(
    model: str,
    names: tuple[str, ...],
    settings: str | None,
    round_timeout: float,
    output: Path | None,
    reducer: str,
    as_json: bool,
) -> None:
    """Ask the connected clients to apply a model; print what their entry point `predict` wrote.

    It fails when no client answers; who failed is named on stderr. There is no prediction while a session runs.

    \b
    Example:
      fedn predict --clients client-1 --settings '{"images": 10}' -o predictions.json
    """
    asked = {"round_timeout": round_timeout, "settings": read_object(settings, "--settings")}
    with ReducerApi(reducer) as api:
        asked |= {"model": model if model == "latest" else full_id(api, model), "clients": list(names) or None}
        prediction = api.post("/api/v1/predictions", asked)["prediction"]
        path = f"/api/v1/predictions/{prediction}"
        ended = wait(api, path, round_timeout + MARGIN_S)
        if output is not None:
            api.save(path, output)
        found = ended if output is not None and not as_json else api.get(path)
    if as_json:
        click.echo(json.dumps(found))
    else:
        show(found, output)
    if found["status"] != "finished":
        raise from_code(found["code"], f"prediction {prediction} failed: {found['reason']}")


def wait(api: ReducerApi, path: str, seconds: float) -> Any:
    """The prediction once it has ended, without data. Raises Unavailable when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        found = api.get(path, data="false")
        if found["ended"] is not None:
            return found
        if time.monotonic() > deadline:
            raise Unavailable(f"prediction {found['id']} is {found['status']} and has not ended in time")
        time.sleep(LOOK_S)


def show(found: dict[str, Any], output: Path | None) -> None:
    """A line per client: what it wrote, or on stderr why not."""
    for line in found["clients"]:
        if line["status"] != "accepted" or line.get("error"):
            click.echo("\n".join(failures.in_words(line | (line.get("error") or {}))), err=True)
        elif output is None:
            click.echo(f"{line['name']}: {json.dumps(line['data'])}")
    answered = sum(line["status"] == "accepted" for line in found["clients"])
    if output is not None:
        click.echo(f"{output}: {answered} of {len(found['clients'])} clients predicted with {found['model'][:12]}…")
