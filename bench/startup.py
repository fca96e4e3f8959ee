"""How long a role takes from the start of its process until it is ready, what of it are imports, and what it holds.

Ready is a reducer whose /ready says so, a combiner that listens, a client that is attached. Imports are those of
`fedn run ROLE`, in an interpreter of their own, from its first line on. Memory is resident, with the pages of libraries
that processes share, once the role is idle.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import anonymous, processor
from bench.command import command
from bench.figure import Figure, of_samples
from bench.network import combiner, free_port, reducer_process
from fedn.cli.processes import Child, Processes, broken
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import FednError

TIMES = 5
NAP_S = 0.002
PATIENCE_S = 60.0
CLIENT_MB = 80.0
IMPORTS = {
    "fedn": "fedn",
    "reducer": "fedn.cli.main, fedn.cli.run, fedn.reducer.server",
    "combiner": "fedn.cli.main, fedn.cli.run, fedn.combiner.server",
    "client": "fedn.cli.main, fedn.cli.run, fedn.client.pool",
}
TIMED = "import time; began = time.perf_counter(); import {modules}; print(time.perf_counter() - began)"


def run(*, times: int = TIMES) -> list[Figure]:
    """Medians of `times` starts and imports, in s; memory in MB."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        started = _started(Path(name), times)
    imported = {what: [_imported(modules) for _ in range(times)] for what, modules in IMPORTS.items()}
    targets = {"client": CLIENT_MB}
    return [
        *(of_samples(f"{role}, start to ready", [s for s, _ in seen], "s") for role, seen in started.items()),
        *(of_samples(f"import, {what}", seconds, "s", note=IMPORTS[what]) for what, seconds in imported.items()),
        *(
            of_samples(f"{role}, memory when idle", [m / 1e6 for _, m in seen], "MB", targets.get(role))
            for role, seen in started.items()
        ),
    ]


def _imported(modules: str) -> float:
    """Seconds."""
    line = TIMED.format(modules=modules)
    done = subprocess.run([sys.executable, "-c", line], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _started(place: Path, times: int) -> dict[str, list[tuple[float, int]]]:
    """Of each role and start: seconds until it was ready, and bytes that all its processes hold when all are."""
    found: dict[str, list[tuple[float, int]]] = {"reducer": [], "combiner": [], "client": []}
    for k in range(times):
        for role, seconds, held in _network(place / str(k)):
            found[role].append((seconds, held))
    return found


def _network(place: Path) -> list[tuple[str, float, int]]:
    """One of each, one after the other."""
    port = free_port()
    with Processes(place / "logs") as processes, ReducerApi(f"http://127.0.0.1:{port}") as api:
        where = ["--reducer", api.address, "--dir", str(place / "client"), "--name", "client"]
        children = [
            _timed(lambda: reducer_process(processes, place / "reducer", port), lambda _: _answers(api)),
            _timed(lambda: combiner(processes, place / "combiner", reducer=api.address), _says("listens on")),
            _timed(lambda: processes.start("client", ["run", "client", *where], os.environ), _says("attached to")),
        ]
        held = [sum(map(anonymous.resident, processor.family(child.process.pid))) for child, _ in children]
        return [(child.name, s, bytes_) for (child, s), bytes_ in zip(children, held, strict=True)]


def _answers(api: ReducerApi) -> bool:
    try:
        return bool(api.get("/ready"))
    except FednError:  # it does not listen yet, or its worker starts
        return False


def _says(words: str) -> Callable[[Child], bool]:
    return lambda child: words in child.log.read_text(errors="replace")


def _timed(start: Callable[[], Child], ready: Callable[[Child], bool]) -> tuple[Child, float]:
    """The process, once it is ready, and the seconds. Raises what ended it, TimeoutError."""
    began = time.monotonic()
    child = start()
    while not ready(child):
        if child.process.poll() is not None:
            raise broken(child)
        if time.monotonic() > began + PATIENCE_S:
            raise TimeoutError(f"{child.name} was not ready after {PATIENCE_S:g} s")
        time.sleep(NAP_S)
    return child, time.monotonic() - began


if __name__ == "__main__":
    command(run)()
