"""Roles on hosts of their own, and what becomes of a session when the network between them is bad."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.faults.namespaces import Spread, spread
from test.faults.undisturbed import as_if_undisturbed
from test.system.network import until

BOTH = ("c0", "c1")
WATCHFUL = {"FEDN_COMBINER_HEARTBEAT_S": "0.5"} | {
    f"FEDN_{role}_KEEPALIVE_S": "1" for role in ("REDUCER", "COMBINER", "CLIENT")
}
FORGETS_S = 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    with spread(tmp_path_factory.mktemp("apart"), **WATCHFUL) as made:
        made.up(clients=2)
        yield made


@pytest.fixture
def apart(running: Spread) -> Iterator[Spread]:
    """A reducer, a combiner north, clients c0 and c1, each on a host of its own."""
    for leftover in ("runs", "go"):
        (running.folder / leftover).unlink(missing_ok=True)
    running.connected(2)
    yield running
    running.stop_sessions()


def trains(net: Spread, session: str, count: int) -> None:
    until(lambda: len(net.runs()) >= count, f"{count} trainings run")
    assert net.session(session)["status"] == "running"


def test_a_client_that_is_cut_off_while_it_trains_comes_back_and_nothing_differs(apart: Spread, tmp_path: Path) -> None:
    north, c0 = apart.roles["north"], apart.roles["c0"]
    session = apart.start(rounds=2, settings=apart.moves(c0="wait@1", c1="wait@1"))
    trains(apart, session, 2)
    apart.cut("c0", "north")
    cut = time.monotonic()
    north.says("client c0 went away")
    c0.says("WARNING c0: ")
    assert time.monotonic() - cut < 6, "both ends notice within their keepalive or heartbeats"
    (apart.folder / "go").touch()
    apart.heal("c0", "north")
    as_if_undisturbed(apart, apart.finished(session), tmp_path, names=BOTH)
    assert len(apart.runs()) == 4, "nothing was trained twice"


def test_a_reducer_that_is_cut_off_from_the_combiner_goes_on_with_the_round(apart: Spread, tmp_path: Path) -> None:
    session = apart.start(rounds=2, settings=apart.moves(c0="wait@1", c1="wait@1"))
    trains(apart, session, 2)
    apart.cut("reducer", "north")
    (apart.folder / "go").touch()
    until(lambda: not apart.get("/")["combiners"][0]["up"], "the reducer misses its combiner")
    apart.heal("reducer", "north")
    as_if_undisturbed(apart, apart.finished(session), tmp_path, names=BOTH)
    assert len(apart.runs()) == 4


def test_a_session_over_ways_that_lose_packets(apart: Spread, tmp_path: Path) -> None:
    ways = [("c0", "north"), ("c1", "north"), ("reducer", "north")]
    for way in ways:
        apart.lan.lose(*way, 0.05)
    session = apart.finished(apart.start(rounds=2))
    for way in ways:
        apart.lan.keep(*way, 0.05)
    as_if_undisturbed(apart, session, tmp_path, names=BOTH)


def test_a_keepalive_below_the_nats_patience_keeps_a_client_reachable(tmp_path: Path) -> None:
    # no heartbeat, so that all that moves on a silent stream are the client's pings
    quiet = {"FEDN_COMBINER_HEARTBEAT_S": "600", "FEDN_COMBINER_KEEPALIVE_S": "600"}
    with spread(tmp_path, **quiet) as net:
        net.reducer()
        net.ready()
        net.combiner()
        net.plant()
        until(lambda: net.get("/")["combiners"], "the combiner is up")
        for name, keepalive_s in (("c0", 1), ("c1", 600)):
            net.lan.add(name)
            net.lan.hide(name, "north", forgets_s=FORGETS_S)
            net.client(name, "--keepalive-s", keepalive_s)
        net.connected(2)
        time.sleep(3 * FORGETS_S + 1)  # the silence is what is tested
        session = net.finished(net.start(rounds=1, clients_required=1, round_timeout=5, validate=False))
        assert {name: line["status"] for name, line in net.clients_of(session["id"], 1).items()} == {
            "c0": "accepted",
            "c1": "missing",
        }
        as_if_undisturbed(net, session, tmp_path, names=["c0"])
