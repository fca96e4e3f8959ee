"""`python -m bench.peers [--only NAME]… [--json FILE]`: the work on each peer, one after the other, in a table."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from bench.peers import PEERS, PeerResult, measure
from bench.peers.environments import PLACE


def row(result: PeerResult) -> str:
    """One line of the table."""
    if result.error is not None:
        return f"{result.name:<12} {result.error}"
    each = " ".join(f"{seconds:.2f}" for seconds in result.seconds)
    held = ", ".join(f"{role} {mb:,.0f} MB" for role, mb in sorted(result.peak_mb.items(), reverse=True))
    return f"{result.name:<12} {statistics.median(result.seconds):>8.2f} s   ({each}; {held})"


@click.command()
@click.option("--clients", default=10, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--megabytes", default=100.0, show_default=True, type=click.FloatRange(min=0.01), help="Of float32, the model."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--only", multiple=True, type=click.Choice(list(PEERS)), help="This peer alone; may be given again.")
@click.option("--limit", "limit_s", type=click.IntRange(min=1), help="Seconds after which each is stopped.")
@click.option("--peers-dir", default=PLACE, type=click.Path(path_type=Path), help="Where their environments are kept.")
@click.option("--keep", type=click.Path(path_type=Path, exists=False), help="A new folder for their logs.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results to this file.")
def main(
    clients: int,
    megabytes: float,
    rounds: int,
    only: Sequence[str],
    limit_s: int | None,
    peers_dir: Path,
    keep: Path | None,
    json_file: Path | None,
) -> None:
    """Seconds of a round, the median, on each peer; its environment is made when it is not there yet."""
    click.echo(f"{clients} clients x {megabytes:g} MB, {rounds} rounds")
    results = []
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as scratch:
        for name in only or PEERS:
            result = measure(
                name,
                clients=clients,
                megabytes=megabytes,
                rounds=rounds,
                folder=keep or Path(scratch),
                environments=peers_dir,
                limit_s=limit_s,
            )
            click.echo(row(result))
            results.append(asdict(result))
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
