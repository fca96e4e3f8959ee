"""What a round costs beyond its training: two combiners, ten clients, and a trainer that returns at once.

The reducer and the combiners are processes of their own; the clients share one process and are the real ones
but for the subprocess of their entry point. A round's time is from one record of the trail to the next.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import struct
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import command
from bench.figure import Figure
from bench.network import combiner, reducer, wait_until
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.client.executor import Fetch, Job
from fedn.client.pool import work
from fedn.config import ClientSettings
from fedn.errors import from_code
from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project
from fedn.wire.v1 import combiner_pb2 as pb

ROUNDS = 50
COMBINERS = 2
CLIENTS = 10
ELEMENTS = 2_000
LOOK_S = 0.5  # between looks at the session, which cost the reducer time too
MANIFEST = "name: at-once\npackage: .\nentry_points:\n  train: at-once\n"


def run(*, rounds: int = ROUNDS, clients: int = CLIENTS) -> list[Figure]:
    """The median and the 99th percentile of a round's seconds, in ms."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        seconds = _measure(Path(name), rounds=rounds, clients=clients)
    note = f"{len(seconds)} rounds, {COMBINERS} combiners, {clients} clients"
    high = statistics.quantiles(seconds, n=100, method="inclusive")[-1]
    return [
        Figure("round overhead, median", statistics.median(seconds) * 1e3, "ms", target=50.0, note=note),
        Figure("round overhead, 99th percentile", high * 1e3, "ms", target=150.0, note=note),
    ]


def _measure(place: Path, *, rounds: int, clients: int) -> list[float]:
    with Processes(place / "logs") as processes, reducer(processes, place / "reducer") as api:
        for k in range(COMBINERS):
            combiner(processes, place / f"combiner-{k}", reducer=api.address)
        wait_until(lambda: sum(c["up"] for c in api.get("/api/v1/network")["combiners"]) == COMBINERS, processes)
        upload(place, api)
        context = multiprocessing.get_context("spawn")
        trainers = context.Process(target=serve, args=(place, clients, api.address), daemon=True)
        trainers.start()
        try:
            wait_until(lambda: api.get("/api/v1/network")["connected"] == clients, processes)
            times = train(api, rounds, clients)
        finally:
            trainers.terminate()
            trainers.join()
    return [after - before for before, after in pairwise(times)]


def train(api: ReducerApi, rounds: int, clients: int) -> list[float]:
    """When each round was committed."""
    options = {"rounds": rounds, "clients_required": clients, "validate": False, "seed": 1, "attempts": 1}
    session = f"/api/v1/sessions/{api.post('/start', options)['session']}"
    while (found := api.get(session))["ended"] is None:
        time.sleep(LOOK_S)
    if found["status"] != "finished":
        raise from_code(found["code"], found["reason"])
    return [record["time"] for record in api.get("/api/v1/trail")["records"] if record["round"]]


def upload(place: Path, api: ReducerApi) -> None:
    """Give the reducer a seed model, a small one unless it is there, and a package that asks for nothing."""
    seed, package, project = place / "seed", place / "package", place / "project"
    if not seed.exists():
        write_model(seed, {"weights": np.zeros(ELEMENTS, np.float32)})
    project.mkdir()
    (project / "fedn.yaml").write_text(MANIFEST)
    create(load_project(project), package)
    api.upload("/seed", seed)
    api.upload("/context", package)


def serve(place: Path, clients: int, address: str) -> None:
    """Run the clients in this process until it is ended."""
    settings = ClientSettings(name="client", reducer=address, dir=place / "clients", replicas=clients)
    asyncio.run(work(settings, lambda *_: AtOnce()))


class AtOnce:
    """The trainer: the model with one element that is this task's own, so that no two updates are the same."""

    async def prepare(self, command: pb.RunTask, entry_point: str, fetch: Fetch) -> None:
        """Nothing is needed."""

    async def run(self, job: Job) -> None:
        """Write the update."""
        own = struct.pack("<f", int(job.environ["FEDN_SEED"]) / 2**32)
        job.out.write_bytes(job.model.read_bytes()[: -len(own)] + own)
        metadata: dict[str, Any] = {"num_examples": 1, "metrics": {"loss": 1.0}}
        job.out.with_name(f"{job.out.name}-metadata").write_text(json.dumps(metadata))

    async def stop(self) -> None:
        """Nothing is kept."""


if __name__ == "__main__":
    command(run)()
