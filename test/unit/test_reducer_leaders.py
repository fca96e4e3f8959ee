"""Two leaders at the same moment: what the former still writes spoils nothing (I1, I5, I9)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.errors import StaleTerm
from fedn.reducer.desk import Desk
from fedn.reducer.driver import Driver
from fedn.reducer.predicting import Predicting
from fedn.reducer.round import RoundRun
from fedn.reducer.sessions import ACTIVE
from test.unit.combiner_bench import until
from test.unit.reducer_bench import fails, hangs, learns, reducer, soon
from test.unit.test_reducer_moves import statuses
from test.unit.test_reducer_sessions import create


async def test_a_new_leader_goes_on_with_what_the_former_wrote_last(tmp_path: Path) -> None:
    """I1, I9: the former moved a client between the new one's look at the round and its taking over."""
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays = await laid.client("c0", "a", learns(2.0))
        moved = await laid.client("c1", "b", learns(4.0))
        as_read = replace(laid.plan(stays, moved, clients_required=2), term=2)
        away = replace(moved.connected, combiner="a")
        as_read = replace(as_read, participants=[stays.connected, away])  # epoch 1
        written = as_read.moved({"c1": "b"})  # epoch 2, by the former leader, a moment later
        laid.desk.state.insert("rounds", replace(written, term=1).document())
        result = await soon(laid.round(as_read).run())
        assert laid.value(result.model) == 3.0
        assert statuses(laid) == {"c0": ("accepted", "a"), "c1": ("accepted", "b")}


async def test_a_leader_that_was_replaced_tells_no_combiner_that_the_round_has_failed(tmp_path: Path) -> None:
    """I1: they would forget what they had accepted for the round that goes on."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        accepted, waits = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "a", hangs)
        theirs = Desk.open(laid.desk.settings)
        laid.stack.callback(theirs.close)
        frozen = RoundRun(theirs, laid.network, laid.plan(accepted, waits, clients_required=2), fresh=lambda: False)
        stale = asyncio.create_task(frozen.run())
        await soon(waits.given.wait())
        laid.desk.state.replace("rounds", laid.document() | {"term": 2})
        await fails(waits, waits.tasks[0])
        with pytest.raises(StaleTerm):
            await soon(stale)
        await asyncio.sleep(0.5)  # it would be told beside the document
        assert [r.order.round_id for r in laid.combiners["a"].rounds.known()] == ["s.1.train.1"]


async def test_the_former_leader_closing_its_rounds_document_fails_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both settle the round of a record that is in the trail, at the same moment."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(2.0))
        session = create(laid, rounds=1)
        plan = replace(laid.plan(round_id=f"{session}.1.train.1"), session=session)
        former = await laid.client("c1", "a", learns(4.0))
        plan = replace(plan, participants=[former.connected])
        await soon(laid.round(plan).run())
        closed = laid.document(plan.round_id)
        laid.desk.state.replace("rounds", closed | {"status": "started"})
        find, met = type(laid.desk.state).find, list[int]()

        def find_and_close(self: Any, collection: str, *args: Any, **more: Any) -> Any:
            found = find(self, collection, *args, **more)
            if collection == "rounds" and not met:
                met.append(1)
                self.replace("rounds", found[0] | {"status": "committed"})
            return found

        monkeypatch.setattr(type(laid.desk.state), "find", find_and_close)
        driver = Driver(laid.desk, laid.network, term=2, fresh=lambda: True)
        leading = asyncio.create_task(driver.lead(asyncio.Event()))
        await until(lambda: laid.desk.sessions.get(session)["ended"])
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        ended = laid.desk.sessions.get(session)
        assert (ended["status"], ended["code"]) == ("finished", "")


async def test_a_frozen_leader_opens_no_session_that_has_ended(tmp_path: Path) -> None:
    """It thaws as it is about to note that a prediction runs first."""
    async with reducer(tmp_path) as laid:
        session = create(laid)
        as_read = laid.desk.sessions.get(session)
        laid.desk.sessions.end(session, "finished")
        driver = Driver(laid.desk, laid.network, term=1, fresh=lambda: False)
        laid.desk.state.insert("predictions", {"_id": "p-1", "slot": "p-1", "status": "finished"})
        with contextlib.suppress(StaleTerm):
            await soon(driver._predict("p-1", as_read))
        assert laid.desk.sessions.get(session)["status"] == "finished"


async def test_a_frozen_leader_ends_no_prediction(tmp_path: Path) -> None:
    """Fencing: it was frozen between its look at the lease and its write."""
    async with reducer(tmp_path) as laid:
        predictions, looks = laid.desk.predictions, list[bool]()
        laid.desk.state.insert("predictions", {"_id": "p-1", "slot": ACTIVE, "status": "running"})

        def fresh() -> bool:
            looks.append(not looks)
            if looks[-1]:
                predictions.begin("p-1", 2)  # another leads by now
            return looks[-1]

        with pytest.raises(StaleTerm):
            await Predicting(laid.desk, laid.network, term=1, fresh=fresh)._end("p-1", "failed", code="x", reason="y")
        assert (predictions.get("p-1")["status"], len(looks)) == ("running", 2)
