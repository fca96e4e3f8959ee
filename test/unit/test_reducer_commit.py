"""From the combiners' sums to the record: what is lost in between is made again, and nothing is recorded twice (I4)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fedn.reducer.round as round_module
from fedn.errors import (
    NotFound,
    QuorumNotMet,
    StaleTerm,
    Unavailable,
)
from fedn.reducer.conduct import fetch
from fedn.reducer.round import RoundRun
from fedn.reducer.trail import Commit
from fedn.wire import inline
from test.unit.reducer_bench import hangs, learns, reducer, soon


class Crash(Exception):
    """The process ends here."""


async def test_a_leader_whose_lease_ran_out_does_not_commit(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(2.0))
        with pytest.raises(StaleTerm):
            await soon(laid.round(laid.plan(client), fresh=lambda: False).run())
        assert laid.document()["status"] == "started"
        assert len(laid.desk.trail.records()) == 1


async def test_a_crash_between_blob_and_record_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(2.0))
        plan = laid.plan(client)

        def crash(commit: Commit, **_: object) -> dict[str, Any]:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(laid.desk.trail, "append", crash)
            with pytest.raises(Crash):
                await soon(laid.round(plan).run())
        result = await soon(laid.round(plan).run())
        assert laid.value(result.model) == 2.0
        assert len(laid.desk.trail.records()) == 2
        assert len(client.tasks) == 1
        assert laid.document()["status"] == "committed"


async def test_a_round_that_was_committed_before_a_crash_is_not_committed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(2.0, loss=0.5))
        plan = laid.plan(client)

        async def crash(*_: object, **__: object) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(RoundRun, "_end", crash)
            with pytest.raises(Crash):
                await soon(laid.round(plan).run())
        assert laid.document()["metrics"] == {"loss": 0.5}
        again = await soon(laid.round(plan).run())
        assert [record["model"] for record in laid.desk.trail.records()][1:] == [again.model]


async def test_a_round_that_goes_on_keeps_its_document(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        plan = laid.plan(client)
        first = asyncio.create_task(laid.round(plan).run())
        await soon(client.given.wait())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        started = laid.document()["started"]
        client.answer = learns(3.0)
        await client.answer(client, client.tasks[0])
        result = await soon(laid.round(plan).run())
        assert laid.value(result.model) == 3.0
        assert laid.document()["started"] == started


@pytest.mark.parametrize(("rounds", "given"), [(2, True), (1, False)])
async def test_combiners_have_the_next_rounds_model_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, given: bool
) -> None:
    """Given while it is recorded; not after the last round, when nobody works with it."""
    monkeypatch.setattr(inline, "MOST_BYTES", 0)
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))]
        result = await soon(laid.round(laid.plan(*clients, rounds=rounds, validate=False)).run())
        held = [combiner.shelf.find(result.model) is not None for combiner in laid.combiners.values()]
        assert held == [given, given]


async def test_a_combiner_that_is_gone_by_then_does_not_hold_up_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:

        async def stands_still(*_: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(round_module, "SPREAD_S", 0.05)
        plan = laid.plan(await laid.client("c0", "a", learns(2.0)), rounds=2)
        monkeypatch.setattr(RoundRun, "_spread", stands_still)
        assert laid.value((await soon(laid.round(plan).run())).model) == 2.0


async def test_a_combiner_that_lost_its_sum_with_its_process_folds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are not durable; the updates are (I1)."""
    monkeypatch.setattr(inline, "MOST_BYTES", 0)
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client, fetched = await laid.client("c0", "a", learns(2.0)), []

        async def after_a_restart(*arguments: Any) -> None:
            fetched.append(arguments[2])
            if len(fetched) == 1:
                await laid.kill("a")
                await laid.combiner("a")
            await fetch(*arguments)

        monkeypatch.setattr(round_module, "fetch", after_a_restart)
        assert laid.value((await soon(laid.round(laid.plan(client)).run())).model) == 2.0
        assert len(fetched) == 2
        assert fetched[0] == fetched[1]
        assert len(client.tasks) == 1


async def test_a_sum_that_is_never_there_ends_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "MOST_BYTES", 0)
    async with reducer(tmp_path, combiners=("a",)) as laid:

        async def lost(*_: Any) -> None:
            raise NotFound("no blob here")

        monkeypatch.setattr(round_module, "fetch", lost)
        plan = laid.plan(await laid.client("c0", "a", learns(2.0)))
        with pytest.raises(QuorumNotMet, match="no blob here"):
            await soon(laid.round(plan).run())


async def test_a_store_that_is_away_when_the_lease_is_looked_at_is_waited_for(tmp_path: Path) -> None:
    """I9: whether this worker leads is not known at that moment; the round is as good as before."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        plan, looks = laid.plan(await laid.client("c0", "a", learns(2.0))), list[int]()

        def fresh() -> bool:
            looks.append(1)
            if len(looks) == 1:
                raise Unavailable("the state store has yet to say whether this worker still leads")
            return True

        assert laid.value((await soon(laid.round(plan, fresh=fresh).run())).model) == 2.0
        assert len(looks) > 1
