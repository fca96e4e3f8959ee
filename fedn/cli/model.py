"""`fedn model`: global models, by their ids."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fedn.cli.options import as_json, reducer_address
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import NotFound


@click.group()
def model() -> None:
    """Fetch global models.

    \b
    Example:
      fedn model pull latest -o model.safetensors
    """


@model.command()
@click.argument("model_id")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@reducer_address
@as_json
def pull(model_id: str, output: Path, reducer: str, as_json: bool) -> None:
    """Download model ID and verify its sha256; a unique beginning of the id will do, and so will "latest".

    \b
    Example:
      fedn model pull 3f2a9c -o model.safetensors
    """
    with ReducerApi(reducer) as api:
        digest = full_id(api, model_id)
        size = api.pull(digest, output)
    click.echo(
        json.dumps({"model": digest, "file": str(output), "size": size})
        if as_json
        else f"{output}: {size} bytes, {digest}"
    )


def full_id(api: ReducerApi, given: str) -> str:
    """The one model of the trail that is meant. Raises NotFound."""
    models = [record["model"] for record in api.get("/api/v1/trail")["records"]]
    if given == "latest" and models:
        return str(models[-1])
    found = {model for model in models if model.startswith(given)}
    if len(found) != 1:
        raise NotFound(f"{len(found)} models of the trail begin with {given!r}")
    return str(found.pop())
