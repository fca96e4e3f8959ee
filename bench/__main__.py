"""`python -m bench [NAME …] [--json FILE]`: the benchmarks in one table; exits 1 when a target is missed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from bench import encoding, fold, helpers, isolation, memory, operations, recover, rounds, stores, transfer
from bench.figure import Figure

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "fold": fold.run,
    "transfer": transfer.run,
    "rounds": rounds.run,
    "memory": memory.run,
    "stores": stores.run,
    "operations": operations.run,
    "isolation": isolation.run,
    "recover": recover.run,
    "helpers": helpers.run,
    "encoding": encoding.run,
}


def row(figure: Figure) -> str:
    """One line of the table."""
    target = "" if figure.target is None else f"{'≥' if figure.more_is_better else '≤'} {figure.target:g}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = "" if figure.target is None else ("ok" if figure.holds else "MISSED")
    value = f"{figure.value:,.4g}" if figure.value < 1000 else f"{figure.value:,.0f}"
    return f"{figure.name:<40} {value:>9} {figure.unit:<5} {target:>7} {ratio:>6} {verdict:<6} {figure.note}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(names: tuple[str, ...], json_file: Path | None) -> None:
    """Run the benchmarks NAMES, or all: medians, beside their targets and floors."""
    click.echo(f"{'what':<40} {'median':>9} {'':<5} {'target':>7} {'ratio':>6}")
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        click.secho(name, bold=True)
        for figure in BENCHMARKS[name]():
            click.echo(row(figure))
            figures.append(figure)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    sys.exit(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    main()
