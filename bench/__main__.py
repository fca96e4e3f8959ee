"""`python -m bench [NAME …] [--json FILE]`: the benchmarks in one table; exits 1 when a bar is missed or one fails."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from bench import results
from bench.command import HEAD, row
from bench.figure import Figure

# Each is a module of this folder with a `run() -> list[Figure]`.
BENCHMARKS = (
    "round",
    "overhead",
    "memory",
    "clients",
    "grid",
    "tree",
    "large",
    "startup",
    "fold",
    "transfer",
    "recover",
    "operations",
    "stores",
    "isolation",
    "helpers",
    "encoding",
)


def run(name: str) -> list[Figure]:
    """The benchmark's figures, in its own sizes."""
    found: list[Figure] = importlib.import_module(f"bench.{name}").run()
    return found


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures into this file.")
@click.option("--keep", is_flag=True, help="Write them into bench/results/<date>.json.")
def main(names: tuple[str, ...], json_file: Path | None, keep: bool) -> None:
    """Run the benchmarks NAMES, or all: medians, beside their bars.

    What a file holds of other benchmarks stays in it.
    """
    json_file = json_file or (results.of_today() if keep else None)
    click.echo(HEAD)
    missed = False
    for name in names or BENCHMARKS:
        click.secho(name, bold=True)
        entry = results.measured(lambda: run(name))  # noqa: B023 - called at once
        if entry["error"]:
            click.secho(entry["error"], fg="red")
        for figure in results.figures_of(entry):
            click.echo(row(figure))
            missed |= not figure.holds
        missed |= bool(entry["error"])
        if json_file is not None:
            results.keep(json_file, name, entry)
    sys.exit(missed)


if __name__ == "__main__":
    main()
