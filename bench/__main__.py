"""`python -m bench [NAME …] [--peers] [--full] [--keep]`: the benchmarks in one table.

Exits with 1 when a bar is missed or one of them fails.
"""

from __future__ import annotations

import importlib
import inspect
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


def run(name: str, **switches: bool) -> list[Figure]:
    """The benchmark's figures, in its own sizes; it is told the switches that it knows."""
    measure = importlib.import_module(f"bench.{name}").run
    known = inspect.signature(measure).parameters
    found: list[Figure] = measure(**{switch: on for switch, on in switches.items() if switch in known})
    return found


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
@click.option("--peers", is_flag=True, help="Run `round` on other systems too; installs them where they are missing.")
@click.option("--full", is_flag=True, help="Run `grid` and `tree` in all sizes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures into this file.")
@click.option("--keep", is_flag=True, help="Write them into bench/results/<date>.json.")
def main(names: tuple[str, ...], peers: bool, full: bool, json_file: Path | None, keep: bool) -> None:
    """Run the benchmarks NAMES, or all: medians, beside their bars.

    What a file holds of other benchmarks stays in it.
    """
    json_file = json_file or (results.of_today() if keep else None)
    click.echo(HEAD)
    missed = False
    for name in names or BENCHMARKS:
        click.secho(name, bold=True)
        entry = results.measured(lambda: run(name, peers=peers, full=full))  # noqa: B023 - called at once
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
