"""Roles on hosts of their own, and what becomes of a session when the network between them is bad."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
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


def test_a_partition_that_heals_late_counts_nothing_twice(tmp_path: Path) -> None:
    """I1, I2: south is cut off from the reducer alone; fenced, it goes on with its clients until they are sent for.

    It has accepted the update of the one, which sends it again to north; it comes back after the round has gone on.
    """
    impatient = {"FEDN_REDUCER_COMBINER_GRACE_S": "8", "FEDN_COMBINER_ORPHAN_S": "2", "FEDN_COMBINER_PORT": "8091"}
    with spread(tmp_path, **WATCHFUL | impatient) as net:
        net.up(combiners=("north", "south"), clients=4)
        at_south = sorted(c["name"] for b in net.get("/")["combiners"] if b["name"] == "south" for c in b["clients"])
        waits = net.moves(**{at_south[0]: "wait@1"})
        session = net.start(rounds=2, clients_required=4, round_timeout=120, settings=waits)
        until(lambda: accepted_at(net, session, "south") == 1, "south has accepted what one of its clients sent")
        trains(net, session, 4)
        net.cut("reducer", "south")
        for name in at_south:
            net.roles[name].says("leaving combiner south: the reducer names north")
        until(lambda: net.round(session, 1)["epoch"] >= 3, "they are given to north")
        net.heal("reducer", "south")
        until(lambda: all(c["up"] for c in net.get("/")["combiners"]), "south is back")
        (net.folder / "go").touch()
        ended = net.finished(session)
        as_if_undisturbed(net, ended, tmp_path, names=["c0", "c1", "c2", "c3"])
        assert {line["combiner"] for line in net.clients_of(session, 1).values()} == {"north"}
        assert len(net.runs()) == 8, "nothing was trained twice"
        assert net.roles["south"].alive
        assert net.post("/api/v1/trail/verify").is_success


def accepted_at(net: Spread, session: str, combiner: str) -> int:
    """How many answers a combiner has accepted in the session's first round, by its own journal."""
    with closing(sqlite3.connect(net.folder / combiner / "journal.db")) as journal:
        rows = journal.execute("select * from journal_updates").fetchall()
    return sum(f"{session}.1.train.1" in str(row) for row in rows)


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
