"""How long a network needs to go on when one of its processes was killed (SIGKILL), for each role.

The combiner and the leading worker die in the middle of a session of rounds without an end, whose trainers return at
once: what counts is when the next thing happens, by the log of who does it or by the time of the next record.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.command import command
from bench.figure import Figure, of_samples
from bench.network import combiner, free_port, reducer, reducer_process, wait_until
from bench.overhead import serve, upload
from fedn.cli.processes import Child, Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import Unavailable

REPEATS = 5
CLIENTS = 10
AWAY_S = 2.0  # so long a combiner is away before it is started again: what was under way is over
LEASE_S = 5.0  # as a reducer has it by default
NAP_S = 0.005
PATIENCE_S = 60.0
ATTACHED, READY, LEADS = "attached to combiner", "listens on", "this worker leads"


def run(*, repeats: int = REPEATS, clients: int = CLIENTS) -> list[Figure]:
    """The medians in s, and the range in the note."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        place = Path(name)
        with Processes(place / "logs") as processes, reducer(processes, place / "reducer") as api:
            back = _client(place, processes, api, repeats)
        port = free_port()
        with Processes(place / "more-logs") as processes, ReducerApi(f"http://127.0.0.1:{port}") as api:
            master = reducer_process(processes, place / "another", port)
            wait_until(lambda: bool(api.get("/ready")), processes)
            with _session(place, processes, api, clients) as there:
                resumed = _combiners(there, place / "north", processes, api, repeats)
                leads, goes_on = _leaders(master, api, repeats)
    return [
        _figure("client, from when its combiner listens", back, 2.0),
        _figure("combiner, from its start to the next record", resumed, 3.0),
        _figure("reducer, from a leader's death to the next", leads, LEASE_S + 2.0),
        _figure("reducer, from the same to the next record", goes_on, None),
    ]


def _figure(name: str, seconds: list[float], target: float | None) -> Figure:
    note = f"{len(seconds)} times, {min(seconds):.2f} to {max(seconds):.2f}"
    return of_samples(name, seconds, "s", target, note=note)


def _client(place: Path, processes: Processes, api: ReducerApi, repeats: int) -> list[float]:
    """Seconds from when a combiner that was away listens again to when its client is attached."""
    port, folder = free_port(), place / "combiner"
    there = combiner(processes, folder, reducer=api.address, port=port)
    where = ["--reducer", api.address, "--dir", str(place / "client"), "--name", "client"]
    client = processes.start("client", ["run", "client", *where], os.environ)
    _when(lambda: _said(client, ATTACHED) == 1)
    seconds = []
    for k in range(repeats):
        _kill(there)
        time.sleep(AWAY_S)
        there = combiner(processes, folder, reducer=api.address, port=port)
        listens = _when(lambda: _said(there, READY) == 1)  # noqa: B023 - called at once
        seconds.append(_when(lambda: _said(client, ATTACHED) == k + 2) - listens)  # noqa: B023
    return seconds


@contextmanager
def _session(place: Path, processes: Processes, api: ReducerApi, clients: int) -> Iterator[Child]:
    """A session of rounds without an end on one combiner, which is given."""
    there = combiner(processes, place / "north", reducer=api.address)
    upload(place, api)
    trainers = multiprocessing.get_context("spawn").Process(target=_serve, args=(place, clients, api.address))
    trainers.start()
    try:
        wait_until(lambda: api.get("/api/v1/network")["connected"] == clients, processes)
        options = {"rounds": 100_000, "clients_required": clients, "validate": False, "seed": 1}
        session = api.post("/start", options)["session"]
        yield there
        api.post(f"/api/v1/sessions/{session}/stop")
    finally:
        trainers.terminate()
        trainers.join()


def _serve(place: Path, clients: int, address: str) -> None:
    logging.disable(logging.ERROR)  # that they lost their combiner
    serve(place, clients, address)


def _combiners(there: Child, folder: Path, processes: Processes, api: ReducerApi, repeats: int) -> list[float]:
    """Seconds from when a combiner is started again to the next record."""
    seconds = []
    for _ in range(repeats):
        _next_record(api, time.time())
        _kill(there)
        time.sleep(AWAY_S)
        began = time.time()
        there = combiner(processes, folder, reducer=api.address)
        seconds.append(_next_record(api, began) - began)
    return seconds


def _leaders(master: Child, api: ReducerApi, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds from when a leader was killed to when the next leads, and to the next record."""
    leads, goes_on = [], []
    for _ in range(repeats):
        died, led = _kill_the_leader(master)
        leads.append(led - died)
        goes_on.append(_next_record(api, led) - died)
    return leads, goes_on


def _kill_the_leader(master: Child) -> tuple[float, float]:
    """Kill workers until another leads; returns when the leader died and when the next led.

    Nothing tells which of two workers leads: when the wrong one was killed, nobody follows it.
    """
    while True:
        before = _said(master, LEADS)
        pid = int(Path(f"/proc/{master.process.pid}/task/{master.process.pid}/children").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        died = time.time()
        try:
            return died, _when(lambda: _said(master, LEADS) > before, within_s=LEASE_S + 5)  # noqa: B023
        except Unavailable:
            continue


def _next_record(api: ReducerApi, after: float) -> float:
    """The time of the first record after that moment."""
    found: list[float] = []

    def look() -> bool:
        found[:] = [r["time"] for r in api.get("/api/v1/trail")["records"] if r["time"] > after]
        return bool(found)

    _when(look, nap_s=0.1)
    return found[0]


def _kill(child: Child) -> None:
    child.mourned = True
    child.process.kill()
    child.process.wait()


def _said(child: Child, words: str) -> int:
    return child.log.read_text(errors="replace").count(words)


def _when(it_holds: Callable[[], bool], *, within_s: float = PATIENCE_S, nap_s: float = NAP_S) -> float:
    """Look until it holds; returns the time of then. Raises Unavailable when it takes too long."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if it_holds():
                return time.time()
        except Unavailable:  # the reducer, for a moment
            pass
        time.sleep(nap_s)
    raise Unavailable(f"it did not come back within {within_s:g} s")


if __name__ == "__main__":
    command(run)()
