"""A combiner's anonymous memory (RssAnon) in one round of 10, of 30 and of 100 clients × 100 MB.

The combiner is a process of its own, new for each round; the clients share another, each with its own connection
(bench/streams.py). This process is the reducer, and watches. The updates lie on the disk: there must be room for all.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import scripted, streams
from bench.anonymous import high_water, peak
from bench.command import command
from bench.disk import check_room
from bench.figure import Figure, of_samples
from bench.network import combiner, free_port, wait_until
from bench.ordered import NOWHERE, order_round
from fedn.cli.processes import Processes

CLIENTS = (10, 30, 100)
MEGABYTES = 100.0
TIMES = 1
MOST_MB, MOST_RATIO = 200.0, 1.1


@dataclass(frozen=True)
class Seen:
    """A round at one combiner: bytes, and its seconds."""

    idle: int
    peak: int
    high_water: int
    seconds: float


def run(*, clients: tuple[int, ...] = CLIENTS, megabytes: float = MEGABYTES, times: int = TIMES) -> list[Figure]:
    """Peaks in MB and the rounds' seconds: medians of `times` runs, taken in turns; and most clients to fewest."""
    size = int(megabytes * 1e6)
    check_room((max(clients) + 6) * size)  # six: the model twice, its sums, at the combiner and here
    model = scripted.some_model(size)
    seen = [{count: _measure(count, model) for count in clients} for _ in range(times)]
    ratios = [each[max(clients)].peak / each[min(clients)].peak for each in seen]
    large = f"{max(clients)} clients to {min(clients)}, {megabytes:g} MB each"
    shares, attached = ([_share(each, what) for each in seen] for what in ("peak", "idle"))
    note = f"its connection, {median(attached):.0f} kB, and its call that waits; its update is on the disk"
    return [
        *(figure for count in clients for figure in _figures(count, megabytes, [each[count] for each in seen])),
        of_samples(f"combiner's peak, {large}", ratios, "×", MOST_RATIO),
        of_samples("combiner's peak, for each client more", shares, "kB", note=note),
    ]


def _share(seen: dict[int, Seen], what: str) -> float:
    """kB of this that each client adds; 0 when there is but one number of clients."""
    fewest, most = min(seen), max(seen)
    grown = getattr(seen[most], what) - getattr(seen[fewest], what)
    return grown / 1e3 / (most - fewest) if most > fewest else 0.0


def _figures(clients: int, megabytes: float, seen: list[Seen]) -> list[Figure]:
    series, most = f"× {megabytes:g} MB", max(each.high_water for each in seen) / 1e6
    rates = [clients * megabytes / each.seconds for each in seen]
    return [
        of_samples("before the round", [s.idle / 1e6 for s in seen], "MB", series=series, clients=clients),
        of_samples("peak", [s.peak / 1e6 for s in seen], "MB", MOST_MB, series=series, clients=clients),
        Figure("kernel's peak", most, "MB", note="an upper bound: VmHWM less files", series=series, clients=clients),
        of_samples("round", [s.seconds for s in seen], "s", series=series, clients=clients),
        of_samples("updates", rates, "MB/s", note="and as much of the model", series=series, clients=clients),
    ]


def _measure(clients: int, model: bytes) -> Seen:
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, Processes(Path(name) / "logs") as processes:
        place, port = Path(name), free_port()
        child = combiner(processes, place / "combiner", reducer=NOWHERE, port=port)
        address = f"127.0.0.1:{port}"
        wait_until(lambda: scripted.attached(address) == 0, processes)
        (place / "model").write_bytes(model)
        (place / "package").write_bytes(b"nobody unpacks it")
        with streams.clients([address], place / "model", clients):
            wait_until(lambda: scripted.attached(address) == clients, processes)
            with peak(child.process.pid) as seen:
                began = time.perf_counter()
                asyncio.run(order_round(address, place, [streams.identity(k) for k in range(clients)]))
                seconds = time.perf_counter() - began
            return Seen(seen.at_first, seen.most, high_water(child.process.pid), seconds)


if __name__ == "__main__":
    command(run)()
