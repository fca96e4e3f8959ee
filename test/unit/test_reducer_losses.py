"""Combiners that come and go in a round: none of their clients is lost, and the round has an end (I1, I8, I9)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.errors import CombinerUnreachable, Unauthenticated
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.driver import Driver
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.parts import Parts
from fedn.reducer.plan import Plan
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.wire.v1 import control_pb2 as control
from test.unit.combiner_bench import until
from test.unit.reducer_bench import hangs, learns, reducer, soon
from test.unit.test_reducer_moves import lost, running
from test.unit.test_reducer_sessions import create


async def test_a_combiner_that_is_lost_twice_in_a_long_round_loses_no_client(tmp_path: Path) -> None:
    """I1, I9: told to stop twice, the second time long after the first."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        first = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(first, clients_required=1, round_timeout=60.0), grace_s=0.7)
        await soon(first.given.wait())
        for answer in (hangs, learns(4.0)):
            await laid.combiners["a"].rounds.drain(0.0)
            await laid.kill("a")
            await until(lambda: lost(laid) == ["a"] or round_.done())
            assert not round_.done(), round_.exception()
            await laid.combiner("a")
            client = await laid.client("c0", "a", answer)
            await soon(client.given.wait())
            await asyncio.sleep(0.8)  # the grace has passed: this is what the test is about
        assert laid.value((await soon(round_)).model) == 4.0


async def test_a_combiner_that_refuses_the_reducers_token_for_a_moment_costs_no_round(tmp_path: Path) -> None:
    """The admin token is being changed: the combiner has read its file, the reducer not yet."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(2.0))
        refused: list[int] = []
        link = CombinerLink.run_round

        async def refuses_once(self: CombinerLink, *args: Any) -> control.RoundOutcome:
            if not refused:
                refused.append(1)
                raise Unauthenticated("this combiner does not know the token")
            return await link(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CombinerLink, "run_round", refuses_once)
            client = next(c for c in (await laid.network.survey())[0].clients())
            plan = replace(laid.plan(clients_required=1), participants=[client])
            assert laid.value((await soon(laid.round(plan).run())).model) == 2.0


async def test_two_combiners_with_equal_sums_are_both_counted(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        one, two = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(2.0))
        assert laid.value((await soon(laid.round(laid.plan(one, two, clients_required=2)).run())).model) == 2.0


async def test_a_round_is_over_at_its_time_whatever_its_combiner_went_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: a combiner that is started again is given what is left of the round, not the whole time once more."""
    asked: list[float] = []

    async def away(_: CombinerLink, name: str, request: control.StartRoundRequest, *more: Any) -> control.RoundOutcome:
        asked.append(request.round_timeout_s)
        await asyncio.sleep(0.5)  # so long it was there
        raise CombinerUnreachable(f"{name} was started again")

    monkeypatch.setattr(CombinerLink, "run_round", away)
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(client, round_timeout=60.0), grace_s=10.0)
        await until(lambda: len(asked) == 2)
        round_.cancel()
        await asyncio.gather(round_, return_exceptions=True)
    assert asked[1] < asked[0] - 0.4


async def test_a_mistake_in_a_round_leaves_no_combiner_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: the session fails with a reason, its round too, and the combiners are told."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        session = create(laid, rounds=1)

        def broken(*_: object) -> None:
            raise KeyError("a mistake")

        monkeypatch.setattr(RoundRun, "_check_quorum", broken)
        driver = Driver(laid.desk, laid.network, term=1, fresh=lambda: True)
        leading = asyncio.create_task(driver.lead(asyncio.Event()))
        await until(lambda: laid.desk.sessions.get(session)["ended"])
        await until(lambda: laid.document(f"{session}.1.train.1")["status"] == "failed")
        await laid.network.survey()
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        assert "a mistake" in laid.document(f"{session}.1.train.1")["reason"]
        assert laid.combiners["a"].rounds.known() == []


async def test_clients_that_arrive_one_after_another_move_together() -> None:
    """Each epoch gives every open client of a combiner its task again."""
    clients = [ConnectedClient(f"c{k}", f"c{k}", k, "b") for k in range(3)]
    plan = Plan("r", "s", 1, "train", "m", "p", clients, SessionConfig(), 1, lost=frozenset("b"))

    async def nobody(*_: object) -> Any:
        raise AssertionError

    parts = Parts(plan, nobody, survey=nobody, save=nobody, grace_s=1.0)
    looks = [{"c0": "a"}, {"c0": "a", "c1": "a"}, {"c0": "a", "c1": "a"}, dict.fromkeys(("c0", "c1", "c2"), "a")]
    assert [parts._settled(found) for found in looks] == [False, False, True, True]
