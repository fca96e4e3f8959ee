"""The command line of a benchmark: `python -m bench.NAME [--SIZE …] [--json FILE]`.

Its sizes are the arguments of its `run`: each becomes an option with the same default.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.figure import Figure

HEAD = f"{'what':<48} {'median':>9} {'':<5} {'bar':>7} {'ratio':>6}"


def numbers(value: Any) -> tuple[int, ...]:
    """Whole numbers with commas between them. Raises ValueError."""
    return value if isinstance(value, tuple) else tuple(int(each) for each in str(value).split(","))


def command(run: Callable[..., list[Figure]]) -> click.Command:
    """The benchmark as a command of its own, which exits 1 when a bar is missed."""

    def main(json_file: Path | None, **sizes: Any) -> None:
        figures = run(**sizes)
        click.echo(HEAD)
        for figure in figures:
            click.echo(row(figure))
        if json_file is not None:
            json_file.write_text(json.dumps([as_data(figure) for figure in figures], indent=2) + "\n")
        sys.exit(not all(figure.holds for figure in figures))

    about = inspect.getdoc(inspect.getmodule(run)) or ""
    where = click.Path(path_type=Path)
    options: list[click.Parameter] = [click.Option(["--json", "json_file"], type=where, help="Write the figures here.")]
    return click.Command(inspect.getmodule(run).__name__, callback=main, params=options + sizes_of(run), help=about)  # type: ignore[union-attr]


def sizes_of(run: Callable[..., list[Figure]]) -> list[click.Parameter]:
    """An option for each argument that is a number, numbers, or a switch."""
    found: list[click.Parameter] = []
    for name, given in inspect.signature(run).parameters.items():
        option, default = f"--{name.replace('_', '-')}", given.default
        if isinstance(default, bool):
            found.append(click.Option([option], is_flag=True, default=default))
        elif isinstance(default, int | float):
            found.append(click.Option([option], type=type(default), default=default, show_default=True))
        elif isinstance(default, tuple) and all(isinstance(each, int) for each in default):
            shown = ",".join(map(str, default))
            found.append(click.Option([option], type=numbers, default=default, show_default=shown))
    return found


def row(figure: Figure) -> str:
    """One line of the table."""
    target = "" if figure.target is None else f"{'≥' if figure.more_is_better else '≤'} {figure.target:g}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = "" if figure.target is None else ("ok" if figure.holds else "MISSED")
    value = f"{number(figure.value):>9} {figure.unit:<5}"
    return f"{figure.title:<48} {value} {target:>7} {ratio:>6} {verdict:<6} {figure.note}"


def number(value: float) -> str:
    """With as many digits as say something."""
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def as_data(figure: Figure) -> dict[str, Any]:
    """The figure as plain data, and whether its bar is met."""
    return asdict(figure) | {"ratio": figure.ratio, "holds": figure.holds}
