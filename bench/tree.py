"""What the reducer moves and spends for a round, as clients grow (`--full`: to 1,000) behind 1, 2 and 4 combiners.

Every byte between reducer and combiners goes through a proxy that counts it, gRPC's own and what is no model included:
one model down to each combiner, its sums in float64 up, so 3 × combiners × model for float32. Clients hold nothing
(bench/streams.py) and dial the combiners directly. CPU is that of all processes of the reducer.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import processor, scripted, session, streams
from bench.command import command
from bench.disk import check_room
from bench.figure import Figure
from bench.network import combiner, free_port, reducer_process, wait_until
from bench.proxy import Proxy, before
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi

COMBINERS, CLIENTS, FULL_CLIENTS = (1, 2, 4), (10, 100), (10, 100, 1000)
MEGABYTES, ROUNDS = 10.0, 2
MOST = 1.02  # of the bytes that there must be
LOOK_S = 1.0  # between looks at the trail: the reducer's processor answers them, too


def run(
    *,
    combiners: tuple[int, ...] = COMBINERS,
    clients: tuple[int, ...] = CLIENTS,
    megabytes: float = MEGABYTES,
    rounds: int = ROUNDS,
    full: bool = False,
) -> list[Figure]:
    """Means of the rounds of one session for each; bytes do not vary."""
    clients = FULL_CLIENTS if full else clients
    figures = [figure for few in combiners for many in clients for figure in cell(few, many, megabytes, rounds)]
    moved = {(f.series, f.clients): f.value for f in figures if f.name == "moved"}
    fewest, most = min(clients), max(clients)
    for series in dict.fromkeys(f.series for f in figures):
        grown = moved[series, most] / moved[series, fewest]
        figures.append(Figure(f"bytes, {most:,} clients to {fewest}, {series}", grown, "×", MOST))
    return figures


def cell(combiners: int, clients: int, megabytes: float, rounds: int) -> list[Figure]:
    """One tree."""
    size = int(megabytes * 1e6)
    check_room((clients + 8 * combiners + 8) * size)
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, ExitStack() as stack:
        place, port = Path(name), free_port()
        processes = stack.enter_context(Processes(place / "logs"))
        master = reducer_process(processes, place / "reducer", port)
        api = stack.enter_context(ReducerApi(f"http://127.0.0.1:{port}"))
        wait_until(lambda: bool(api.get("/ready")), processes)
        ports = [free_port() for _ in range(combiners)]
        proxies = [stack.enter_context(before(each)) for each in ports]
        for k, (own, proxy) in enumerate(zip(ports, proxies, strict=True)):
            where = place / f"combiner-{k}"
            combiner(processes, where, "--advertise", proxy.address, reducer=api.address, port=own)
        session.come_up(processes, api, combiners=combiners, clients=0)
        (place / "seed").write_bytes(scripted.some_model(size))
        session.plant(place, api, place / "seed")
        with streams.clients([f"127.0.0.1:{each}" for each in ports], place / "seed", clients):
            session.come_up(processes, api, combiners=combiners, clients=clients)
            moved, spent, took = _session(api, processor.family(master.process.pid), proxies, rounds, clients)
    series, must = f"{combiners} combiner{'s' * (combiners > 1)}", 3 * combiners * size
    return [
        Figure("moved", moved / 1e6, "MB", series=series, clients=clients),
        Figure("of 3 × combiners × model", moved / must, "×", MOST, series=series, clients=clients),
        Figure("besides", (moved - must) / 1e3, "kB", note="what is no model", series=series, clients=clients),
        Figure("CPU", spent, "s", note="of the reducer, for a round", series=series, clients=clients),
        Figure("round", took, "s", series=series, clients=clients),
    ]


def _session(
    api: ReducerApi, pids: list[int], proxies: list[Proxy], rounds: int, clients: int
) -> tuple[float, float, float]:
    """Bytes and seconds, of the processor and of the clock, for each round."""

    def now() -> tuple[float, float]:
        return sum(proxy.passed for proxy in proxies), processor.seconds(pids)

    begin, began = now(), time.time()
    session.train(api, rounds=rounds, clients=clients, validate=False, look_s=LOOK_S)
    moved, spent = ((b - a) / rounds for a, b in zip(begin, now(), strict=True))
    return moved, spent, (session.ends(api)[-1] - began) / rounds


if __name__ == "__main__":
    command(run)()
