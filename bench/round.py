"""A round of N clients × M MB through one combiner, all checks on, beside what its bytes alone cost in the same run.

Reducer, combiner and every client are processes of their own; the clients are the real ones but for the subprocess of
their entry point. There is no training: each client writes its update once, and changes the last element of it for
each round, as the peers' clients hand back what they hold in memory. A round's time is from one record of the trail to
the next: model down to the combiner, down to the clients, updates up, folded, fetched, averaged, recorded.

`floor`: the bytes between combiner and clients alone (bench/floor.py), raw, and with one hash and one file per end; the
lower of all clients at once and three at once. Taken before and after the rounds.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import floor, overhead
from bench.anonymous import peak
from bench.figure import Figure, of_samples
from bench.network import combiner, free_port, reducer_process, wait_until
from bench.peers import PEERS
from bench.peers import measure as measure_peer
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.client.executor import Job
from fedn.client.pool import work
from fedn.config import ClientSettings
from fedn.model.safetensors import write_model

CLIENTS, MEGABYTES, ROUNDS = 10, 100.0, 5
LAYERS = 4
PEER_ROUNDS = 2  # that are timed: the slowest takes more than a minute for one
AT_ONCE = 3
LOOK_S = 0.02  # between looks at the memory of a process


def run(
    *, clients: int = CLIENTS, megabytes: float = MEGABYTES, rounds: int = ROUNDS, peers: bool = False
) -> list[Figure]:
    """The round beside its floors, and peers."""
    found = measure(clients=clients, megabytes=megabytes, rounds=rounds, peers=peers)
    figures = [
        of_samples(f"round, {clients} × {megabytes:g} MB", found["seconds"], "s"),
        Figure("its bytes with hash and file", found["floor_seconds"], "s"),
        Figure("its bytes alone", found["raw_floor_seconds"], "s"),
        Figure("round in floors with hash and file", found["ratio_to_floor"], "×", target=1.3),
        Figure("round in raw floors", found["ratio_to_raw_floor"], "×", target=2.0),
        *(Figure(f"CPU time of a round, {role}", seconds, "s") for role, seconds in found["cpu_s"].items()),
        *(Figure(f"peak memory, {role}", mb, "MB") for role, mb in found["peak_mb"].items()),
    ]
    taken = {name: told for name, told in found["peers"].items() if isinstance(told, float)}
    figures += [Figure(f"the same on {name}", told, "s") for name, told in taken.items()]
    if taken:
        fastest = min(taken, key=taken.__getitem__)
        ratio = taken[fastest] / found["seconds_median"]
        figures.append(Figure("fastest peer in our rounds", ratio, "×", target=6.0, more_is_better=True, note=fastest))
    return figures


def measure(*, clients: int, megabytes: float, rounds: int, peers: bool = False) -> dict[str, Any]:
    """What `--json` writes; of a peer the median of a round's seconds, or why there is none."""
    size = round(megabytes * 1e6)
    before = _floors(clients, size, rounds)
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        seconds, peaks, cpu = _rounds(Path(name), clients=clients, size=size, rounds=rounds)
    after = _floors(clients, size, rounds)
    floors = {kind: min(before[kind] + after[kind], key=statistics.median) for kind in before}
    middle = {kind: statistics.median(times) for kind, times in floors.items()}
    median = statistics.median(seconds)
    return {
        "clients": clients,
        "megabytes": megabytes,
        "seconds": seconds,
        "seconds_median": median,
        "floor_seconds": middle["checked"],
        "raw_floor_seconds": middle["raw"],
        "ratio_to_floor": median / middle["checked"],
        "ratio_to_raw_floor": median / middle["raw"],
        "cpu_s": cpu,
        "peak_mb": peaks,
        "peers": _peers(clients, megabytes) if peers else {},
    }


def _peers(clients: int, megabytes: float) -> dict[str, float | str]:
    """Medians without the first round, as for ours; or what went wrong."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as scratch:
        told = [
            measure_peer(name, clients=clients, megabytes=megabytes, rounds=1 + PEER_ROUNDS, folder=Path(scratch))
            for name in PEERS
        ]
    return {r.name: r.error if r.error is not None else statistics.median(r.seconds[1:]) for r in told}


def _floors(clients: int, size: int, rounds: int) -> dict[str, list[list[float]]]:
    return {
        kind: [
            floor.seconds(clients=clients, size=size, rounds=rounds, at_once=at_once, checked=kind == "checked")
            for at_once in (AT_ONCE, clients)
        ]
        for kind in ("checked", "raw")
    }


def _rounds(
    place: Path, *, clients: int, size: int, rounds: int
) -> tuple[list[float], dict[str, float], dict[str, float]]:
    """Each round's seconds but the first's, which brings the package; by role peak memory in MB, CPU s of a round."""
    with Processes(place / "logs") as processes, reducer(processes, place / "reducer") as (head, api):
        server = combiner(processes, place / "combiner", reducer=api.address).process.pid
        wait_until(lambda: any(c["up"] for c in api.get("/api/v1/network")["combiners"]), processes)
        plant(place, api, size)
        with workers(place, clients, api.address) as pids:
            wait_until(lambda: api.get("/api/v1/network")["connected"] == clients, processes)
            roles = {"reducer": family([head]), "combiner": [server], "client": pids}
            used = {role: sum(map(cpu_s, pids)) for role, pids in roles.items()}
            with ExitStack() as watching:
                watched = roles | {"client": pids[:1]}  # one of them: looking at all would cost what is measured
                seen = {r: [watching.enter_context(peak(pid, every_s=LOOK_S)) for pid in watched[r]] for r in watched}
                times = overhead.train(api, rounds + 1, clients)
            cpu = {role: (sum(map(cpu_s, pids)) - used[role]) / (rounds + 1) for role, pids in roles.items()}
            peaks = {role: max(each.most for each in found) / 1e6 for role, found in seen.items()}
    return [after - before for before, after in pairwise(times)], peaks, cpu


@contextmanager
def reducer(processes: Processes, folder: Path) -> Iterator[tuple[int, ReducerApi]]:
    """The pid of a reducer's first process, and its REST interface, once it is ready."""
    port = free_port()
    head = reducer_process(processes, folder, port).process.pid
    with ReducerApi(f"http://127.0.0.1:{port}") as api:
        wait_until(lambda: bool(api.get("/ready")), processes)
        yield head, api


def family(heads: list[int]) -> list[int]:
    """These processes and their children."""
    found = list(heads)
    for pid in found:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plant(place: Path, api: ReducerApi, size: int) -> None:
    """A seed model of about `size` bytes in some layers, and a package that asks for nothing."""
    rng = np.random.default_rng(0)
    each = size // 4 // LAYERS
    write_model(place / "seed", {f"layer{k}": rng.standard_normal(each, np.float32) for k in range(LAYERS)})
    overhead.upload(place, api)


@contextmanager
def workers(place: Path, clients: int, address: str) -> Iterator[list[int]]:
    """Each client in a process of its own."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_client, args=(place, k, address), daemon=True) for k in range(clients)]
    for process in running:
        process.start()
    try:
        yield [process.pid for process in running if process.pid is not None]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _client(place: Path, k: int, address: str) -> None:
    settings = ClientSettings(name=f"client-{k}", reducer=address, dir=place / f"client-{k}")
    asyncio.run(work(settings, lambda *_: Holds(place / f"update-{k}")))


class Holds(overhead.AtOnce):
    """The trainer: an update that is written once, at `update`, with a last element that is this task's own."""

    def __init__(self, update: Path) -> None:
        self._update = update

    async def run(self, job: Job) -> None:
        """Hand it in under one more name."""
        if not self._update.exists():
            await asyncio.to_thread(shutil.copyfile, job.model, self._update)
        own = struct.pack("<f", int(job.environ["FEDN_SEED"]) / 2**32)
        with self._update.open("r+b") as file:
            file.seek(-len(own), os.SEEK_END)
            file.write(own)
        job.out.hardlink_to(self._update)
        metadata: dict[str, Any] = {"num_examples": 1, "metrics": {"loss": 1.0}}
        job.out.with_name(f"{job.out.name}-metadata").write_text(json.dumps(metadata))


@click.command()
@click.option("--clients", default=CLIENTS, show_default=True, help="So many clients.")
@click.option("--megabytes", default=MEGABYTES, show_default=True, help="Size of the model.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Rounds that are timed.")
@click.option("--peers", is_flag=True, help="Run the same on other systems; installs them where they are missing.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file.")
def main(clients: int, megabytes: float, rounds: int, peers: bool, json_file: Path | None) -> None:
    """Time rounds of real processes, and their floors, in one run."""
    found = measure(clients=clients, megabytes=megabytes, rounds=rounds, peers=peers)
    text = json.dumps(found, indent=2)
    click.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")


if __name__ == "__main__":
    main()
