"""`fedn package`: what runs on the clients, as one file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fedn.cli.options import as_json
from fedn.package.archive import create as create_archive
from fedn.package.archive import inspect as inspect_archive
from fedn.package.project import load_project

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def package() -> None:
    """Build and look into compute packages.

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
@as_json
def create(project: Path, output: Path, as_json: bool) -> None:
    """Build the compute package of PROJECT, a folder with a fedn.yaml.

    The same files always give the same digest.

    \b
    Example:
      fedn package create test/digits -o package.tar
    """
    digest = create_archive(load_project(project), output)
    size = output.stat().st_size
    if as_json:
        click.echo(json.dumps({"digest": digest, "file": str(output), "size": size}))
    else:
        click.echo(f"{output}: {size} bytes, sha256 {digest}")


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
    entry_points = {name: list(command) for name, command in info.manifest.entry_points.items()}
    if as_json:
        files = [{"name": name, "size": size} for name, size in info.files]
        click.echo(json.dumps({"digest": info.digest, "size": info.size, "files": files, "entry_points": entry_points}))
        return
    click.echo(f"{info.manifest.name}: {info.size} bytes, sha256 {info.digest}")
    for name, command in entry_points.items():
        click.echo(f"  {name}: {' '.join(command)}")
    for name, size in info.files:
        click.echo(f"  {size:>10}  {name}")
