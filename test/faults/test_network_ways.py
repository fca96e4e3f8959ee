"""Clients over long, narrow and dying ways: two combiners, each behind a proxy of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.faults.undisturbed import as_if_undisturbed
from test.middlebox import Middlebox
from test.system.network import Network, free_port, network, until

BOTH = ("c0", "c1")
LEAST = 150_000.0  # bytes per second: a silent transfer is given up after 7 s
WATCHFUL = {"FEDN_COMBINER_HEARTBEAT_S": "0.5"} | {
    f"FEDN_{role}_{key}": str(value)
    for role in ("REDUCER", "COMBINER", "CLIENT")
    for key, value in (("KEEPALIVE_S", 1.0), ("MIN_RATE_BYTES_S", LEAST))
}


@dataclass
class Ways:
    net: Network
    far: Middlebox
    narrow: Middlebox


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with ExitStack() as stack:
        net = stack.enter_context(network(tmp_path_factory.mktemp("ways"), **WATCHFUL))
        ports = {name: free_port() for name in ("far", "narrow")}
        far = Middlebox(f"127.0.0.1:{ports['far']}", delay_s=0.075)
        narrow = Middlebox(f"127.0.0.1:{ports['narrow']}", rate=2 * LEAST)
        ways = {"far": far, "narrow": narrow}
        net.reducer()
        net.ready()
        for name, way in ways.items():
            stack.callback(way.close)
            net.combiner(name, "--port", ports[name], "--advertise", way.address)
        net.plant(padding=50_000)
        until(lambda: sum(c["up"] for c in net.get("/")["combiners"]) == len(ways), "the combiners are up")
        for client, combiner in zip(BOTH, ways, strict=True):
            net.client(client, "--combiner", combiner)
        net.connected(2)
        yield Ways(net, far, narrow)


@pytest.fixture
def ways(running: Ways) -> Iterator[Ways]:
    for leftover in ("runs", "go"):
        (running.net.folder / leftover).unlink(missing_ok=True)
    running.net.connected(2)
    yield running
    running.net.stop_sessions()


def test_a_session_over_a_long_and_a_narrow_way(ways: Ways, tmp_path: Path) -> None:
    session = ways.net.finished(ways.net.start(rounds=1, validate=False))
    as_if_undisturbed(ways.net, session, tmp_path, names=BOTH)


def test_connections_that_are_half_open_are_noticed_and_made_anew(ways: Ways, tmp_path: Path) -> None:
    net = ways.net
    session = net.start(rounds=1, settings=net.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(net.runs()) == 2, "both train")
    came = net.roles["far"].text.count("client c0 (part")
    ways.far.half_open()
    dead = time.monotonic()
    ways.far.heal()
    net.roles["far"].says("client c0 (part", times=came + 1)
    back_s = time.monotonic() - dead
    (net.folder / "go").touch()
    as_if_undisturbed(net, net.finished(session), tmp_path, names=BOTH)
    assert len(net.runs()) == 2, "nothing was trained twice"
    assert back_s < 10, "1.5 s of the keepalive, and a first backoff"


def test_connections_that_break_again_and_again_are_made_anew(ways: Ways, tmp_path: Path) -> None:
    net = ways.net
    settings = net.moves()  # for the notes on runs
    session = net.start(rounds=2, settings=settings, validate=False)
    for number in (1, 2):
        until(lambda: len(net.runs()) >= 2 * number, f"both train in round {number}")  # noqa: B023
        ways.narrow.cut()
        ways.far.cut()
    as_if_undisturbed(net, net.finished(session), tmp_path, names=BOTH)
    assert len(net.runs()) == 4, "nothing was trained twice"
