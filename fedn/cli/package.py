"""`fedn package`: what runs on the clients, as one file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from fedn.cli.options import as_json, reducer_address
from fedn.cli.own_environment import env_option, python_of, to_stderr
from fedn.cli.reducer_api import ReducerApi
from fedn.cli.seed import build_package
from fedn.package.archive import inspect as inspect_archive
from fedn.package.project import UNNAMED, Project, load_project

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def package() -> None:
    """Build compute packages, look into them, send them to the reducer.

    \b
    Example:
      fedn package create test/digits -o package.tar
    """


@package.command()
@click.argument("project", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("package.tar"),
    show_default=True,
)
@env_option
@as_json
def create(project: Path, output: Path, env: bool | None, as_json: bool) -> None:
    """Build the compute package of PROJECT, a folder with a fedn.yaml.

    The entry point `build`, if there is one, is run first. The same files always give the same digest.

    \b
    Example:
      fedn package create test/digits -o package.tar
    """
    digest = built(load_project(project), output, env=env)
    size = output.stat().st_size
    if as_json:
        click.echo(json.dumps({"digest": digest, "file": str(output), "size": size}))
    else:
        click.echo(f"{output}: {size} bytes, sha256 {digest}")


@package.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@env_option
@reducer_address
@as_json
def upload(source: Path, env: bool | None, reducer: str, as_json: bool) -> None:
    """Send a compute package to the reducer: SOURCE is a package, or a project to build it from.

    \b
    Example:
      fedn package upload test/digits
    """
    with ReducerApi(reducer) as api, tempfile.TemporaryDirectory() as folder:
        file = source
        if source.is_dir():
            file = Path(folder) / "package.tar"
            built(load_project(source), file, env=env)
        sent = api.upload("/context", file)
    click.echo(json.dumps(sent) if as_json else f"package {sent['name']}, sha256 {sent['digest']}")


@package.command()
@click.argument("file", type=existing_file)
@as_json
def inspect(file: Path, as_json: bool) -> None:
    """Show what FILE would run on a client; nothing is unpacked.

    \b
    Example:
      fedn package inspect package.tar
    """
    info = inspect_archive(file)
    entry_points = {name: list(entry.command) for name, entry in info.manifest.entry_points.items()}
    if as_json:
        files = [{"name": name, "size": size} for name, size in info.files]
        click.echo(json.dumps({"digest": info.digest, "size": info.size, "files": files, "entry_points": entry_points}))
        return
    click.echo(f"{info.manifest.name or UNNAMED}: {info.size} bytes, sha256 {info.digest}")
    for name, command in entry_points.items():
        click.echo(f"  {name}: {' '.join(command)}")
    for name, size in info.files:
        click.echo(f"  {size:>10}  {name}")


def built(project: Project, output: Path, *, env: bool | None) -> str:
    """Make the package after the project's build; returns its sha256."""
    with python_of(project, env=env, needed="build" in project.entry_points, say=to_stderr) as python:
        return build_package(project, output, python=python)
