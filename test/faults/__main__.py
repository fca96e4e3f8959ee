"""`python -m test.faults [--only WORDS] [--json FILE]`: the matrix of faults; exits 1 when a row is not as expected."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from test.faults.play import Found, play, undisturbed
from test.faults.rows import Row, rows
from test.faults.site import Site, site
from test.faults.table import heading, line, summary
from test.system.network import command


class Sites:
    """One site for each kind of stores, made when a row needs it, and anew after a row that was not as expected."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._site: Site | None = None
        self._stores = False
        self._count = 0
        self.expected: list[str] = []

    def take(self, *, stores: bool) -> Site:
        """A site of that kind that is well."""
        if self._site is None or self._stores != stores:
            self.verified()
            self.drop()
            self._count, self._stores = self._count + 1, stores
            self._site = self._stack.enter_context(site(self._folder / str(self._count), stores=stores))
            models = undisturbed(self._site)
            assert self.expected in ([], models), "two undisturbed networks have made different models"
            self.expected = models
        return self._site

    def verified(self) -> None:
        """The whole trail of the present site holds, with all lineages that its rows have begun (I5)."""
        if self._site is not None:
            done = command("trail", "verify", "--reducer", self._site.address)
            assert done.returncode == 0, done.stderr

    def drop(self) -> None:
        """End the present one."""
        self._stack.close()
        self._site = None


def chosen(words: Sequence[str]) -> list[Row]:
    """The rows in whose name all of the words are, those over the embedded stores first."""
    found = [row for row in rows() if all(word.lower() in row.name.lower() for word in words)]
    return sorted(found, key=lambda row: (row.needs_stores, row.isolation))


def play_all(wanted: Sequence[Row], sites: Sites) -> Iterator[tuple[Row, Found, Path]]:
    """One after another."""
    for row in wanted:
        here = sites.take(stores=row.needs_stores)
        found = play(here, row, sites.expected)
        yield row, found, here.folder
        if not found.holds:
            sites.drop()


@click.command()
@click.option("--only", multiple=True, metavar="WORDS", help="Only rows whose name has these words; may be repeated.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file.")
@click.option("--list", "only_list", is_flag=True, help="Only name the rows.")
def main(only: tuple[str, ...], json_file: Path | None, only_list: bool) -> None:
    """Kill, end and freeze each process of a real network at each moment of a round, and compare the models."""
    wanted = chosen(only)
    if only_list:
        click.echo("\n".join(row.name for row in wanted))
        return
    started, results = time.monotonic(), []
    folder = Path(tempfile.mkdtemp(prefix="fedn-faults-"))
    sites = Sites(folder)
    click.echo(heading())
    try:
        for row, found, logs in play_all(wanted, sites):
            click.echo(line(row, found, logs))
            results.append((row, found))
        sites.verified()
    finally:
        sites.drop()
    click.echo(summary((found for _, found in results), time.monotonic() - started))
    if json_file is not None:
        told = [{"row": asdict(row) | {"name": row.name}} | asdict(found) for row, found in results]
        json_file.write_text(json.dumps(told, indent=2) + "\n")
    sys.exit(not all(found.holds for _, found in results))


if __name__ == "__main__":
    main()
