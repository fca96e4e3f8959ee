"""A combiner that is lost in mid-round: its clients go on under another, and nothing counts twice (I1, I2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.errors import StaleTerm
from fedn.reducer.desk import Desk
from fedn.reducer.moves import moves
from fedn.reducer.network import Seen, connected
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.plan import Plan
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.views import rounds_view
from fedn.wire.v1 import control_pb2 as control
from test.unit.combiner_bench import until
from test.unit.reducer_bench import Reducer, hangs, learns, reducer, soon
from test.unit.test_reducer_rounds import accepts

AWAY_S = 0.5
SOON_S = 60.0  # a grace that no test could wait for


def running(laid: Reducer, plan: Plan, *, grace_s: float = AWAY_S) -> asyncio.Task[Any]:
    return asyncio.create_task(laid.round(plan, give_up_s=grace_s).run())


def lost(laid: Reducer) -> list[str]:
    return list(laid.document().get("lost", []))


def statuses(laid: Reducer) -> dict[str, tuple[str, str]]:
    return {line["client_id"]: (line["status"], line["combiner"]) for line in laid.document()["clients"]}


async def test_the_clients_of_a_lost_combiner_go_on_under_another_in_the_same_round(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays, leaves = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", hangs)
        round_ = running(laid, laid.plan(stays, leaves, clients_required=2))
        await soon(leaves.given.wait())
        await laid.kill("b")
        await until(lambda: lost(laid) == ["b"])
        again = await laid.client("c1", "a", learns(4.0))
        result = await soon(round_)
        assert laid.value(result.model) == 3.0
        assert statuses(laid) == {"c0": ("accepted", "a"), "c1": ("accepted", "a")}
        assert laid.document()["epoch"] == 3  # fenced, moved
        assert [task.round_id for task in again.tasks] == [task.round_id for task in leaves.tasks]
        assert len(stays.tasks) == 1
        (line,) = rounds_view(laid.desk, "s")
        assert [(loss["combiner"], loss["code"]) for loss in line["losses"]] == [("b", "combiner_unreachable")]
        assert line["failures"] == []
        records = laid.desk.trail.records()
        assert [c["combiner"] for c in records[-1]["combiners"]] == ["a"]


async def test_what_a_lost_combiner_had_accepted_counts_once_when_its_client_sends_it_again(tmp_path: Path) -> None:
    """A partition that heals late: the fenced combiner has the update, and is back in the round for another client."""
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        one, two = await laid.client("c1", "b", learns(4.0)), await laid.client("c2", "b", hangs)
        stays = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(stays, one, two, clients_required=3), grace_s=3.0)
        await soon(two.given.wait())
        await soon(accepts(laid.combiners["b"], 1))
        await laid.kill("b")
        await until(lambda: lost(laid) == ["b"])
        await laid.client("c1", "a", learns(4.0))
        await until(lambda: {p["client_id"]: p["combiner"] for p in laid.document()["participants"]}["c1"] == "a")
        await laid.combiner("b")
        await laid.client("c2", "b", learns(6.0))
        await laid.client("c0", "a", learns(2.0))
        result = await soon(round_)
        assert laid.value(result.model) == 4.0  # (2 + 4 + 6) / 3
        assert statuses(laid) == {"c0": ("accepted", "a"), "c1": ("accepted", "a"), "c2": ("accepted", "b")}


async def test_a_lost_combiner_that_comes_back_brings_what_it_had_accepted(tmp_path: Path) -> None:
    """I1: its disk is back, though its client is not."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        accepted, waits = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "a", hangs)
        round_ = running(laid, laid.plan(accepted, waits, clients_required=2), grace_s=2.0)
        await soon(waits.given.wait())
        await soon(accepts(laid.combiners["a"], 1))
        await laid.kill("a")
        await until(lambda: lost(laid) == ["a"])
        await laid.combiner("a")
        await laid.client("c1", "a", learns(6.0))
        assert laid.value((await soon(round_)).model) == 4.0
        assert len(accepted.tasks) == 1


async def test_a_combiner_that_is_told_to_stop_hands_its_round_back_at_once(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays, leaves = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", hangs)
        round_ = running(laid, laid.plan(stays, leaves, clients_required=2), grace_s=SOON_S)
        await soon(leaves.given.wait())
        await laid.combiners["b"].rounds.drain(0.0)
        await laid.kill("b")
        await until(lambda: lost(laid) == ["b"])
        await laid.client("c1", "a", learns(4.0))
        assert laid.value((await soon(round_)).model) == 3.0


async def test_a_client_that_its_combiner_waits_for_is_followed_to_where_it_is(tmp_path: Path) -> None:
    """After a loss the lost combiner is back, but one of its clients is with another by then."""
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays, leaves = await laid.client("c0", "a", hangs), await laid.client("c1", "b", hangs)
        round_ = running(laid, laid.plan(stays, leaves, clients_required=2), grace_s=2.0)
        await soon(leaves.given.wait())
        await laid.kill("b")
        await until(lambda: lost(laid) == ["b"])
        await laid.combiner("b")
        await until(lambda: lost(laid) == [])
        await until(lambda: laid.combiners["b"].rounds.running())
        await laid.client("c1", "a", learns(4.0))
        await laid.client("c0", "a", learns(2.0))
        assert laid.value((await soon(round_)).model) == 3.0
        assert statuses(laid)["c1"] == ("accepted", "a")
        await until(lambda: not laid.combiners["b"].rounds.known())


async def test_a_combiner_without_which_a_round_went_on_is_told_its_end_before_it_is_said_to_be_up(
    tmp_path: Path,
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(client))
        await soon(client.given.wait())
        await cancelled(round_)
        there = laid.combiners["a"].rounds
        await laid.network.survey()
        assert [r.order.round_id for r in there.known()] == ["s.1.train.1"]  # it runs, as far as anybody knows
        laid.desk.state.replace("rounds", laid.document() | {"status": "committed"})
        (combiner,) = await laid.network.survey()
        assert combiner.up
        assert there.known() == []


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_next_leader_goes_on_with_the_assignment_as_it_was_left(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays, leaves = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", hangs)
        plan = laid.plan(stays, leaves, clients_required=2)
        former = running(laid, plan)
        await soon(leaves.given.wait())
        await laid.kill("b")
        await until(lambda: lost(laid) == ["b"])
        await cancelled(former)
        again = replace(plan, term=2, **Plan.assignment_of(laid.document()))
        assert again.lost == {"b"}
        round_ = running(laid, again)
        await laid.client("c1", "a", learns(4.0))
        assert laid.value((await soon(round_)).model) == 3.0
        assert len(stays.tasks) == 1


async def test_a_leader_that_was_only_frozen_writes_nothing_into_a_round_that_another_leads(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        plan = laid.plan(client)
        theirs = Desk.open(laid.desk.settings)
        laid.stack.callback(theirs.close)
        frozen = RoundRun(theirs, laid.network, plan, fresh=lambda: True)
        stale = asyncio.create_task(frozen.run())
        await soon(client.given.wait())
        newer = asyncio.create_task(laid.round(replace(plan, term=2)).run())
        await until(lambda: laid.document()["term"] == 2)
        before = laid.document()
        with pytest.raises(StaleTerm, match="term 2"):
            frozen._note({"status": "failed"})
        assert laid.document() == before
        await laid.client("c0", "a", learns(5.0))
        assert laid.value((await soon(newer)).model) == 5.0
        with pytest.raises(StaleTerm):
            await soon(stale)
        assert laid.document()["status"] == "committed"


async def test_a_client_that_two_combiners_claim_is_given_work_once(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        for name in ("b", "a"):
            await laid.client("c0", name, hangs)
        laid.desk.state.insert("clients", {"_id": "c0", "name": "c0", "part": 0, "seat": "b/0", "combiner": "b"})
        found = connected(laid.desk.state, await laid.network.survey())
        assert [(c.client_id, c.combiner) for c in found] == [("c0", "b")]


def seen(name: str, *clients: str, busy: tuple[str, ...] = (), draining: bool = False, up: bool = True) -> Seen:
    attached = [control.AttachedClient(client_id=c, name=c) for c in clients]
    runs = control.RunningRound(round_id="r", progress=control.RoundProgress(phase="collect", busy=busy))
    report = control.ReportReply(combiner=name, clients=attached, rounds=[runs], draining=draining)
    return Seen(name, name, f"{name}:1", report if up else None)


def plan(lost: tuple[str, ...] = (), **where: str) -> Plan:
    clients = [ConnectedClient(c, c, k, combiner) for k, (c, combiner) in enumerate(where.items())]
    return Plan("r", "s", 1, "train", "m", "p", clients, SessionConfig(), 1, lost=frozenset(lost))


GONE_B = seen("b", up=False)
CASES: list[tuple[str, Plan, list[Seen], dict[str, str]]] = [
    ("all well", plan(x="a", y="b"), [seen("a", "x"), seen("b", "y", busy=("y",))], {}),
    ("lost, attached elsewhere", plan(("b",), x="a", y="b"), [seen("a", "x", "y"), GONE_B], {"y": "a"}),
    ("lost, nowhere yet", plan(("b",), x="a", y="b"), [seen("a", "x"), GONE_B], {}),
    ("lost, and back without its client", plan(("b",), y="b"), [seen("a"), seen("b")], {"y": "b"}),
    ("lost, and back with its client", plan(("b",), y="b"), [seen("a", "y"), seen("b", "y")], {"y": "b"}),
    ("lost, and back, client elsewhere", plan(("b",), y="b"), [seen("a", "y"), seen("b")], {"y": "a"}),
    ("lost, and another drains", plan(("b",), y="b"), [seen("a", "y", draining=True), GONE_B], {}),
    ("waited for in vain", plan(y="b"), [seen("a", "y"), seen("b", busy=("y",))], {"y": "a"}),
    ("has answered and left", plan(y="b"), [seen("a", "y"), seen("b")], {}),
    ("seems to be at both", plan(y="b"), [seen("a", "y"), seen("b", "y", busy=("y",))], {}),
]


@pytest.mark.parametrize(("before", "reports", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_moves_where(before: Plan, reports: list[Seen], expected: dict[str, str]) -> None:
    assert moves(before, reports) == expected
