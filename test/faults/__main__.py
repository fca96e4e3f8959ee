"""`python -m test.faults [--only WORDS] [--json FILE]`: the matrix of faults; exits 1 when a row is not as expected."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from test.faults.lose import lose
from test.faults.losses import Loss
from test.faults.play import Found, play, undisturbed
from test.faults.rows import Ground
from test.faults.site import Site, site
from test.faults.table import EVERYTHING, Fault, heading, line, summary
from test.system.network import command

LOSS_GRACE_S = 1.0  # in the losses, a client that stays away is given up after so long


class Sites:
    """A site of the kind that a row needs; another one after a row that was not as expected."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._site: Site | None = None
        self._ground: Ground | None = None
        self._count = 0
        self.expected: list[str] = []

    def take(self, ground: Ground) -> Site:
        """A site of that kind that is well."""
        if self._site is None or self._ground != ground:
            self.verified()
            self.drop()
            self._count, self._ground = self._count + 1, ground
            grace = {"grace_s": LOSS_GRACE_S} if ground == "losses" else {}
            made = site(self._folder / str(self._count), stores=ground == "stores", **grace)
            self._site = self._stack.enter_context(made)
            models = undisturbed(self._site)
            assert self.expected in ([], models), "two undisturbed networks have made different models"
            self.expected = models
        return self._site

    def play(self, fault: Fault) -> tuple[Found, Path]:
        """One row; what was found, and the folder of its logs."""
        here = self.take(fault.ground)
        found = lose(here, fault) if isinstance(fault, Loss) else play(here, fault, self.expected)
        if not found.holds:
            self.drop()
        return found, here.folder

    def verified(self) -> None:
        """The whole trail of the present site holds, with all lineages that its rows have begun (I5)."""
        if self._site is not None:
            done = command("trail", "verify", "--reducer", self._site.address)
            assert done.returncode == 0, done.stderr

    def drop(self) -> None:
        """End the present one."""
        self._stack.close()
        self._site = None


def chosen(words: Sequence[str]) -> list[Fault]:
    """The rows in whose name all of the words are; those that are played on one site follow each other."""
    found = [fault for fault in EVERYTHING if all(word.lower() in fault.name.lower() for word in words)]
    grounds = list(dict.fromkeys(fault.ground for fault in found))
    return sorted(found, key=lambda fault: (grounds.index(fault.ground), getattr(fault, "isolation", "worker")))


@click.command()
@click.option("--only", multiple=True, metavar="WORDS", help="Only rows whose name has these words; may be repeated.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file.")
@click.option("--list", "only_list", is_flag=True, help="Only name the rows.")
def main(only: tuple[str, ...], json_file: Path | None, only_list: bool) -> None:
    """Kill, end and freeze each process of a real network at each moment of a round, and compare the models."""
    wanted = chosen(only)
    if only_list:
        click.echo("\n".join(fault.name for fault in wanted))
        return
    started, results = time.monotonic(), []
    folder = Path(tempfile.mkdtemp(prefix="fedn-faults-"))
    sites = Sites(folder)
    click.echo(heading())
    try:
        for fault in wanted:
            found, logs = sites.play(fault)
            click.echo(line(fault, found, logs))
            results.append((fault, found))
        sites.verified()
    finally:
        sites.drop()
    click.echo(summary([found for _, found in results], time.monotonic() - started))
    if json_file is not None:
        told = [
            {"name": f.name, "when": f.when, "who": f.victim, "how": f.how, "expected": f.wanted} | asdict(found)
            for f, found in results
        ]
        json_file.write_text(json.dumps(told, indent=2) + "\n")
    sys.exit(not all(found.holds for _, found in results))


if __name__ == "__main__":
    main()
