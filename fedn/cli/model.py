"""`fedn model`: global models, by their ids."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from fedn.cli.options import as_json, reducer_address
from fedn.cli.own_environment import env_option, python_of, to_stderr
from fedn.cli.reducer_api import ReducerApi
from fedn.cli.seed import SEED, write_seed
from fedn.errors import NotFound
from fedn.package.project import load_project


@click.group()
def model() -> None:
    """Plant the seed model, fetch global models.

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


@model.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True, help="For init_model and build."
)
@click.option("--new-lineage", is_flag=True, help="Train anew from this seed; the trail keeps what was before.")
@env_option
@reducer_address
@as_json
def seed(source: Path, seed: int, new_lineage: bool, env: bool | None, reducer: str, as_json: bool) -> None:
    """Upload the seed model: SOURCE is a safetensors file, or a project whose init_model or build writes one.

    A trail that has begun takes another seed only as a new lineage: the next session starts from it.

    \b
    Example:
      fedn model seed test/digits
      fedn model seed test/digits --seed 43 --new-lineage
    """
    with ReducerApi(reducer) as api, tempfile.TemporaryDirectory() as folder:
        file = source
        if source.is_dir():
            file = Path(folder) / "seed.safetensors"
            project = load_project(source)
            with python_of(project, env=env, say=to_stderr) as python:
                write_seed(project, file, seed=seed, python=python)
        planted = api.upload("/seed", file, **({"new_lineage": "true"} if new_lineage else {}))
    lineage = f", lineage {planted['lineage']}" if new_lineage else ""
    click.echo(json.dumps(planted) if as_json else f"seed model {planted['model']}{lineage}")


def full_id(api: ReducerApi, given: str) -> str:
    """The one model of the trail that is meant. Raises NotFound."""
    models = [record["model"] for record in api.get("/api/v1/trail")["records"]]
    if given == "latest" and models:
        return str(models[-1])
    found = {model for model in models if model.startswith(given)}
    if len(found) != 1:
        raise NotFound(f"{len(found)} models of the trail begin with {given!r}")
    return str(found.pop())
