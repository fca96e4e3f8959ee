"""Stragglers: a round asks more clients than it needs, a clock closes it, and who is late is told, not counted."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from test.faults import judge
from test.faults.play import send
from test.faults.rows import Trigger
from test.faults.site import HOMES, Site, Ways, site
from test.system.network import until

SLOW = "c1"
ROUND_S = 6


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("stragglers") / "site", Ways(client_grace_s=60)) as made:
        yield made


def test_a_round_is_closed_by_the_clock_and_a_late_update_is_counted_told_and_not_folded(running: Site) -> None:
    """I3: no message comes from the straggler; the round needs three of the four that it asked."""
    net, since = running, running.new_lineage()
    halt = net.ask(Trigger(SLOW, "upload"))
    session = net.start(rounds=2, clients_requested=4, clients_required=3, round_timeout=ROUND_S, validate=False)
    halted = net.reached(halt, 30)
    send([halted], signal.SIGSTOP)
    until(lambda: [r["status"] for r in net.session(session)["rounds"]][:1] == ["committed"], "round 1 is committed")
    first = net.round(session, 1)
    assert {line["name"]: line["code"] for line in first["clients"] if line["status"] != "accepted"} == {
        SLOW: "round_closed"
    }
    assert first["seconds"] >= ROUND_S
    halt.go()
    send([halted], signal.SIGCONT)
    net.roles[SLOW].says("was not taken: ")
    late = {c["name"]: c["late"] for c in net.get("/")["combiners"]}
    assert late == {"north": 0, "south": 1}
    finished = net.finished(session)
    assert list(judge.trail_holds(net, since)) == []
    assert finished["rounds"][0]["updates"] == len(HOMES) - 1


def test_who_was_late_has_work_again(running: Site) -> None:
    """I9."""
    running.at_home()
    session = running.finished(running.start(rounds=1, clients_required=4, validate=False))
    assert {line["status"] for line in running.clients_of(session["id"], 1).values()} == {"accepted"}
