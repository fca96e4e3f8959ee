"""A combiner with a thousand clients is killed: all of them come back, each as who it was (I9)."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from test.system.network import Network, Role, free_port, network, until

pytestmark = pytest.mark.system

CLIENTS = 1000
PROCESSES = 2
WITHIN_S = 240.0  # of a machine that is far too busy
LOOK_S = 0.5  # a look at a thousand clients costs the reducer time, which the clients need
# What a client may say when it lost its combiner; all else above "info" is an error.
LOST = (
    "Stream removed",
    "no combiner is up",
    "failed to connect to all addresses",
    "Socket closed",
    "Connection reset by peer",
)


def test_a_thousand_clients_come_back_to_a_combiner_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with network(tmp_path) as net:
        net.reducer()
        net.ready()
        port = free_port()
        net.combiner("north", "--port", port).says("knows combiner north")
        net.plant()
        pools = [net.client(f"pool-{k}", "--replicas", CLIENTS // PROCESSES) for k in range(PROCESSES)]
        begun = time.monotonic()
        before = all_there(net)
        came_s = time.monotonic() - begun
        assert sorted(part for _, part in before.values()) == list(range(CLIENTS))

        session = net.start(rounds=1, clients_requested=10, clients_required=10, validate=False)
        assert len(net.finished(session)["rounds"]) == 1

        net.roles["north"].stop(signal.SIGKILL)
        begun = time.monotonic()
        combiner = net.combiner("north", "--port", port)
        combiner.says("knows combiner north", times=2)
        ready = time.monotonic()
        assert all_there(net) == before
        back_s, start_s = time.monotonic() - ready, ready - begun

        session = net.start(rounds=1, clients_requested=10, clients_required=10, validate=False)
        assert len(net.finished(session)["rounds"]) == 1
        for pool in pools:
            assert pool.alive
            assert complaints(pool) == []
        with capsys.disabled():
            print(
                f"\n{CLIENTS} clients came in {came_s:.1f} s; killed and started again, the combiner was ready after "
                f"{start_s:.1f} s and had all of them {back_s:.1f} s later; "
                f"memory: combiner {anonymous_mib(combiner):.0f} MiB, "
                f"a pool of {CLIENTS // PROCESSES} {anonymous_mib(pools[0]):.0f} MiB"
            )


def all_there(net: Network) -> dict[str, tuple[str, int]]:
    """Wait for all clients; returns each one's name and part by its identity."""

    def look() -> list[dict[str, Any]] | None:
        time.sleep(LOOK_S)
        seen = [client for combiner in net.get("/")["combiners"] for client in combiner["clients"]]
        return seen if len(seen) == CLIENTS else None

    seen = until(look, f"{CLIENTS} clients are attached", within=WITHIN_S)
    assert seen is not None
    found = {client["client_id"]: (client["name"], client["part"]) for client in seen}
    assert len(found) == CLIENTS
    return found


def complaints(pool: Role) -> list[str]:
    """The lines of a pool's log above "info" that are not about the loss of the combiner."""
    lines = [line for line in pool.text.splitlines() if not re.match(r"\d\d:\d\d:\d\d INFO ", line)]
    return [line for line in lines if not any(words in line for words in LOST)]


def anonymous_mib(role: Role) -> float:
    status = Path(f"/proc/{role.process.pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
