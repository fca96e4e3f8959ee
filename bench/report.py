"""`python -m bench.report [FILE]`: docs/benchmarks.md and its plots, made of a file of results without measuring again.

The newest file in bench/results is taken when none is named. What a person wrote is in bench/report.md.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import click

from bench import plots, results
from bench.__main__ import BENCHMARKS
from bench.command import number
from bench.figure import Figure
from bench.machine import ROOT

WORDS = Path(__file__).with_name("report.md")


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs", help="Where to write.")
def main(file: Path | None, docs: Path) -> None:
    """Write benchmarks.md and benchmarks/*.svg."""
    file = file or results.newest()
    if file is None:
        raise click.ClickException("there is no file of results yet: make bench")
    found = json.loads(file.read_text())
    write(found, docs, source=file.name)


def write(found: dict[str, Any], docs: Path, *, source: str) -> None:
    """The page and its plots; plots of former runs go."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("*.svg"):
        former.unlink()
    entries = {name: found["benchmarks"][name] for name in BENCHMARKS if name in found["benchmarks"]}
    figures = {name: results.figures_of(entry) for name, entry in entries.items()}
    everything = [figure for each in figures.values() for figure in each]
    parts = [overview(everything), drawn(folder, "bars", plots.bars(everything), "figures beside their bars")]
    for name, entry in entries.items():
        lines = drawn(folder, name, plots.lines(figures[name]), f"{name} over the number of clients")
        parts += [f"## {name}", about(name), provenance(entry), *tables(figures[name]), lines]
    page = Template(WORDS.read_text()).substitute(
        source=source, machine=machine(found["machine"]), tables=joined(parts)
    )
    (docs / "benchmarks.md").write_text(page)


def drawn(folder: Path, name: str, plot: str, words: str) -> str:
    """Write the plot; the line of the page that shows it. Empty for an empty one."""
    if not plot:
        return ""
    (folder / f"{name}.svg").write_text(plot)
    return f"![{words}]({folder.name}/{name}.svg)"


def joined(parts: Sequence[str]) -> str:
    """Paragraphs."""
    return "\n\n".join(part for part in parts if part)


def machine(told: dict[str, Any]) -> str:
    """One line about the machine, one about versions."""
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    what = f"{told['cpu']}, {told['cores']} cores, {told['memory_gb']:g} GB, {told['kernel']}, Python {told['python']}"
    return f"{what}; {versions}."


def overview(figures: Sequence[Figure]) -> str:
    """How many bars hold, and which do not."""
    judged = [figure for figure in figures if figure.target is not None]
    missed = [f"{figure.title} ({shown(figure)})" for figure in judged if not figure.holds]
    said = f"{len(judged) - len(missed)} of {len(judged)} bars hold."
    return said + (f" Missed: {'; '.join(missed)}." if missed else "")


def about(name: str) -> str:
    """What the benchmark's module says of itself."""
    return inspect.getdoc(importlib.import_module(f"bench.{name}")) or ""


def provenance(entry: dict[str, Any]) -> str:
    """When, at which commit, at what load; and what went wrong."""
    when = f"{entry['taken']}, commit {entry['commit'] or 'unknown'}"
    return f"*{when}, {entry['seconds']:g} s, load before {entry['load']:g}*" + (
        f"\n\nIt failed: `{entry['error']}`" if entry["error"] else ""
    )


def tables(figures: Sequence[Figure]) -> list[str]:
    """One line for each figure; and those over the number of clients with a column for each name."""
    alone = [figure for figure in figures if figure.clients is None]
    rows = [figure for figure in figures if figure.clients is not None]
    return [plain(alone) if alone else "", pivot(rows) if rows else ""]


def plain(figures: Sequence[Figure]) -> str:
    """What, median, spread, bar, verdict, note."""
    lines = [f"| {f.title} | {shown(f)} | {spread(f)} | {bar(f)} | {verdict(f)} | {f.note} |" for f in figures]
    return "\n".join(["| what | median | spread | bar | | |", "|---|---|---|---|---|---|", *lines])


def pivot(figures: Sequence[Figure]) -> str:
    """A line for each series and number of clients; the spread stands behind the median."""
    units = {f.name: f.unit for f in figures}
    found = {(f.series, f.clients, f.name): f for f in figures}
    head = " | ".join(f"{name}, {unit}" for name, unit in units.items())
    lines = [f"| | clients | {head} |", "|---" * (2 + len(units)) + "|"]
    for series, clients in dict.fromkeys((f.series, f.clients) for f in figures):
        cells = [cell(found.get((series, clients, name))) for name in units]
        lines.append(f"| {series} | {clients:,} | {' | '.join(cells)} |")
    notes = dict.fromkeys(f"{f.name}: {f.note}" for f in figures if f.note)
    return "\n".join([*lines, "", *(f"* {note}" for note in notes)])


def cell(figure: Figure | None) -> str:
    """A median with its spread, its bar and the verdict."""
    if figure is None:
        return ""
    least, most = (f"{f(figure.samples):,.3g}" for f in (min, max)) if figure.samples[1:] else ("", "")
    parts = [f"{figure.value:,.3g}", f"({least}–{most})" if least != most else "", bar(figure), verdict(figure)]
    return " ".join(part for part in parts if part)


def shown(figure: Figure) -> str:
    """The value with its unit."""
    return f"{number(figure.value)} {figure.unit}".strip()


def spread(figure: Figure) -> str:
    """The least and the most of the samples, and how many there are."""
    return (
        f"{number(min(figure.samples))} to {number(max(figure.samples))}, n={len(figure.samples)}"
        if figure.samples
        else ""
    )


def bar(figure: Figure) -> str:
    """The bar with its sign."""
    return "" if figure.target is None else f"{'≥' if figure.more_is_better else '≤'} {figure.target:g}"


def verdict(figure: Figure) -> str:
    """Whether it holds."""
    return "" if figure.target is None else "holds" if figure.holds else "**missed**"


if __name__ == "__main__":
    main()
