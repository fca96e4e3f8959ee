"""Thousands of clients on one combiner: what each costs it, how fast all of them come, and a round among 1,000 of them.

The combiner is a process of its own, with the default heartbeats; `bench.crowd` speaks for the clients, each on a TCP
connection of its own. This process is the reducer, and watches. `python -m bench.clients --clients 10000 --json FILE`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import scripted
from bench.anonymous import anonymous, resident
from bench.command import command
from bench.crowd import Crowd, crowd
from bench.figure import Figure
from bench.network import combiner, free_port, reducer, wait_until
from bench.ordered import NOWHERE, order_round
from fedn.cli.processes import Child, Processes
from fedn.client.pool import AT_ONCE
from fedn.storage import descriptors

CLIENTS = (1_000, 5_000, 10_000)
PARTICIPANTS = 1_000
BLOB_BYTES = 100_000
SETTLE_S = 10.0  # in which those who came first are told how seldom to beat
IDLE_S = 60.0
WITHIN_S = 180.0
LOOK_S = 0.1
ESTABLISHED = "01"
ALONE = ("--orphan-s", "86400")  # nobody is asked to look for another combiner, since no reducer is there


@dataclass(frozen=True)
class Seen:
    """What a combiner's clients cost it: bytes for each, its CPU in cores while all idle; and seconds."""

    memory: float
    cpu: float
    attached_s: float
    failed: int
    dispatched_s: float
    round_s: float
    connections: int
    clients: int


def run(
    *,
    clients: tuple[int, ...] = CLIENTS,
    participants: int = PARTICIPANTS,
    blob_bytes: int = BLOB_BYTES,
    settle_s: float = SETTLE_S,
    idle_s: float = IDLE_S,
    at_once: int = AT_ONCE,
) -> list[Figure]:
    """For each number of clients: kB of each, CPU when idle, the herd, a round; and the memory of one real client."""
    model = scripted.some_model(blob_bytes)
    figures = []
    for count in clients:
        seen = _measure(count, participants, model, settle_s=settle_s, idle_s=idle_s, at_once=at_once)
        figures += _figures(seen, min(participants, seen.clients), blob_bytes, idle_s, _limit(count, seen.clients))
    return [*figures, _idle_client()]


def _figures(seen: Seen, participants: int, blob_bytes: int, idle_s: float, within: str) -> list[Figure]:
    many = f"{seen.clients:,} clients"
    what = f"round of {participants:,} × {blob_bytes / 1e3:g} kB among {seen.clients:,}"
    return [
        Figure(f"{many}, each", seen.memory / 1e3, "kB", target=50.0, note=f"RssAnon of the combiner{within}"),
        Figure(f"{many}, combiner idle", seen.cpu * 100, "%", target=15.0, note=f"of a core, over {idle_s:g} s"),
        Figure(f"{many}, all attached", seen.attached_s, "s", target=60.0, note=f"{seen.connections:,} connections"),
        Figure(f"{many}, attempts that failed", seen.failed, "", target=0.0),
        Figure(f"{what}, dispatched", seen.dispatched_s, "s", note="StartRound to the last RunTask at its client"),
        Figure(what, seen.round_s, "s", target=10.0, note="StartRound to the outcome"),
    ]


def _limit(wanted: int, had: int) -> str:
    return "" if wanted == had else f"; not {wanted:,}, by the limit of open files"


def _possible(clients: int) -> int:
    """As many as a combiner has places for here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    places = clients if hard == resource.RLIM_INFINITY else descriptors.for_clients(hard - descriptors.OWN)
    return min(clients, places)


def _measure(clients: int, participants: int, model: bytes, *, settle_s: float, idle_s: float, at_once: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, Processes(Path(name) / "logs") as processes:
        place, port, names = Path(name), free_port(), [str(k) for k in range(_possible(clients))]
        child = combiner(processes, place / "combiner", *ALONE, reducer=NOWHERE, port=port)
        address = f"127.0.0.1:{port}"
        wait_until(lambda: scripted.attached(address) == 0, processes)
        (place / "model").write_bytes(model)
        (place / "package").write_bytes(b"nobody unpacks it")
        with crowd(address, place, place / "model", names, at_once=at_once) as there:
            wait_until(lambda: there.tally.ready.number == len(there.pids), processes)
            before = anonymous(child.process.pid)
            attached_s = _herd(there, len(names))
            failed = there.tally.failed.number
            time.sleep(settle_s)
            connections = _connections(port, there.pids)
            cpu = _idle(child, idle_s)
            memory = (anonymous(child.process.pid) - before) / len(names)
            chosen = names[:: max(1, len(names) // participants)][:participants]
            ordered, came = asyncio.run(order_round(address, place, chosen))
            if (lost := there.tally.lost.number) or connections < len(names):
                raise RuntimeError(f"{connections} connections of {len(names)} clients; {lost} streams ended")
            dispatched = there.tally.tasks.at
        return Seen(memory, cpu, attached_s, failed, dispatched - ordered, came - ordered, connections, len(names))


def _herd(there: Crowd, clients: int) -> float:
    """Let all come; returns the seconds until the last was welcomed."""
    began = there.begin()
    while there.tally.attached.number < clients:
        if time.monotonic() > began + WITHIN_S:
            raise TimeoutError(f"{there.tally.attached.number} of {clients} were attached after {WITHIN_S:g} s")
        time.sleep(LOOK_S)
    return there.tally.attached.at - began


def _idle(child: Child, seconds: float) -> float:
    """The processor time of a process, in cores."""
    before, began = _cpu_s(child.process.pid), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(child.process.pid) - before) / (time.monotonic() - began)


def _cpu_s(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")  # user and system


def _connections(port: int, pids: Sequence[int]) -> int:
    """How many TCP connections these processes have to this port."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]  # gRPC dials an IPv4 address through either
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    there = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED}
    return sum(str(file.readlink()) in there for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir())


def _idle_client() -> Figure:
    """The resident memory of one attached `fedn run client`."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        place = Path(name)
        with Processes(place / "logs") as processes, reducer(processes, place / "reducer") as api:
            combiner(processes, place / "combiner", reducer=api.address)
            where = ["--reducer", api.address, "--dir", str(place / "client"), "--name", "client"]
            child = processes.start("client", ["run", "client", *where], os.environ)
            wait_until(lambda: api.get("/api/v1/network")["connected"] == 1, processes)
            own = anonymous(child.process.pid) / 1e6
            return Figure(
                "fedn run client, idle",
                resident(child.process.pid) / 1e6,
                "MB",
                target=80.0,
                note=f"resident; {own:.0f} MB of it anonymous",
            )


if __name__ == "__main__":
    command(run)()
