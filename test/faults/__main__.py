"""`python -m test.faults [--only WORDS] [--json FILE]`: the matrix of faults; exits 1 when a row is not as expected."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from test.faults.sites import Sites
from test.faults.table import EVERYTHING, Fault, heading, line, summary


def chosen(words: Sequence[str]) -> list[Fault]:
    """The rows in whose name all of the words are; those that are played on one site follow each other."""
    found = [fault for fault in EVERYTHING if all(word.lower() in fault.name.lower() for word in words)]
    grounds = list(dict.fromkeys(fault.ground for fault in found))
    return sorted(found, key=lambda fault: (grounds.index(fault.ground), getattr(fault, "isolation", "worker")))


@click.command()
@click.option("--only", multiple=True, metavar="WORDS", help="Only rows whose name has these words; may be repeated.")
@click.option("--times", default=1, help="Play each row so often, to hunt what happens rarely.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file.")
@click.option("--list", "only_list", is_flag=True, help="Only name the rows.")
def main(only: tuple[str, ...], times: int, json_file: Path | None, only_list: bool) -> None:
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
        for fault in itertools.chain.from_iterable(itertools.repeat(fault, times) for fault in wanted):
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
