"""What a round costs beyond its training: two combiners, ten clients, and a trainer that returns at once.

The reducer and the combiners are processes of their own; the clients share one process and are the real ones
but for the subprocess of their entry point. A round's time is from one record of the trail to the next.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.figure import Figure
from fedn.cli.processes import Processes, broken
from fedn.cli.reducer_api import ReducerApi
from fedn.client.agent import Agent
from fedn.client.link import Link
from fedn.client.runtime import Finished
from fedn.client.tasks import Tasks
from fedn.client.workspace import Workspace
from fedn.config import ClientSettings
from fedn.errors import ReducerUnreachable, Unavailable
from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project
from fedn.storage import folder

ROUNDS = 50
COMBINERS = 2
CLIENTS = 10
ELEMENTS = 2_000
COME_UP_S = 60.0
LOOK_S = 0.25
MANIFEST = "name: at-once\npackage: .\nentry_points:\n  train: at-once\n"


def run(*, rounds: int = ROUNDS, clients: int = CLIENTS) -> list[Figure]:
    """The median and the 90th percentile of a round's seconds, in ms."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        seconds = _measure(Path(name), rounds=rounds, clients=clients)
    note = f"{len(seconds)} rounds, {COMBINERS} combiners, {clients} clients"
    high = statistics.quantiles(seconds, n=10)[-1]
    return [
        Figure("round overhead, median", statistics.median(seconds) * 1e3, "ms", target=100.0, note=note),
        Figure("round overhead, 90th percentile", high * 1e3, "ms", note=note),
    ]


def _measure(place: Path, *, rounds: int, clients: int) -> list[float]:
    with Processes(place / "logs") as processes, _reducer(place, processes) as api:
        for k in range(COMBINERS):
            where = ["--reducer", api.address, "--dir", str(place / f"combiner-{k}")]
            processes.start(f"combiner-{k}", ["run", "combiner", *where], os.environ)
        _wait_until(lambda: sum(c["up"] for c in api.get("/api/v1/network")["combiners"]) == COMBINERS, processes)
        _upload(place, api)
        context = multiprocessing.get_context("spawn")
        trainers = context.Process(target=_serve, args=(place, clients, api.address), daemon=True)
        trainers.start()
        try:
            _wait_until(lambda: api.get("/api/v1/network")["connected"] == clients, processes)
            session = api.post("/start", {"rounds": rounds, "clients_required": clients, "validate": False, "seed": 1})
            _wait_until(lambda: api.get(f"/api/v1/sessions/{session['session']}")["ended"] is not None, processes)
            times = [record["time"] for record in api.get("/api/v1/trail")["records"] if record["round"]]
        finally:
            trainers.terminate()
            trainers.join()
    if len(times) != rounds:
        raise Unavailable(f"{len(times)} of {rounds} rounds were committed")
    return [after - before for before, after in pairwise(times)]


@contextmanager
def _reducer(place: Path, processes: Processes) -> Iterator[ReducerApi]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes.start("reducer", ["run", "reducer", "--port", str(port), "--dir", str(place / "reducer")], os.environ)
    with ReducerApi(f"http://127.0.0.1:{port}") as api:
        _wait_until(lambda: bool(api.get("/ready")), processes)
        yield api


def _wait_until(it_holds: Callable[[], bool], processes: Processes) -> None:
    deadline = time.monotonic() + COME_UP_S
    while time.monotonic() < deadline:
        for dead in processes.newly_dead():
            raise broken(dead)
        try:
            if it_holds():
                return
        except (ReducerUnreachable, Unavailable):
            pass
        time.sleep(LOOK_S)
    raise Unavailable(f"the network was not where it should be after {COME_UP_S:g} s")


def _upload(place: Path, api: ReducerApi) -> None:
    seed, package, project = place / "seed", place / "package", place / "project"
    write_model(seed, {"weights": np.zeros(ELEMENTS, np.float32)})
    project.mkdir()
    (project / "fedn.yaml").write_text(MANIFEST)
    create(load_project(project), package)
    api.upload("/seed", seed)
    api.upload("/context", package)


def _serve(place: Path, clients: int, reducer: str) -> None:
    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            for k in range(clients):
                settings = ClientSettings(name=f"client-{k}", reducer=reducer, dir=place / f"client-{k}")
                group.create_task(_agent(settings).run())

    asyncio.run(serve())


def _agent(settings: ClientSettings) -> Agent:
    root, link = folder.prepare(settings.dir), Link()
    identity = folder.identity(root)
    tasks = Tasks(settings, Workspace(root), link, identity=identity, runner=at_once)
    return Agent(settings, tasks=tasks, link=link, identity=identity)


async def at_once(
    command: Sequence[str],
    arguments: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    time_limit_s: float,
    log: Callable[[str], None] | None = None,
) -> Finished:
    """The trainer: the model with one element that is this task's own, so that no two updates are the same."""
    model, out = map(Path, arguments)
    own = struct.pack("<f", int(environ["FEDN_SEED"]) / 2**32)
    out.write_bytes(model.read_bytes()[: -len(own)] + own)
    metadata: dict[str, Any] = {"num_examples": 1, "metrics": {"loss": 1.0}}
    out.with_name(f"{out.name}-metadata").write_text(json.dumps(metadata))
    return Finished(seconds=0.0, stdout_tail="", stderr_tail="")
