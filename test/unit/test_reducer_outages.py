"""Sessions whose stores go away: nothing that was finished or accepted is lost, and what waits goes on (I1, I5, I8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.errors import ModelMissing, StaleTerm, StoreAway, Unavailable
from fedn.reducer.driver import Driver
from fedn.reducer.engine import Engine
from fedn.reducer.lease import Lease
from fedn.reducer.network import Network
from fedn.reducer.patience import Stores
from fedn.reducer.session_config import SessionConfig
from fedn.storage.sqlite import SqliteState
from test.unit.away import Guarded, guard
from test.unit.combiner_bench import until
from test.unit.reducer_bench import Reducer, hangs, learns, reducer, soon

GIVE_UP_S = 0.5
CONFIG = SessionConfig(rounds=1, seed=7)


@asynccontextmanager
async def leading(laid: Reducer) -> AsyncIterator[None]:
    task = asyncio.create_task(Driver(laid.desk, laid.network, term=1, fresh=lambda: True).lead(asyncio.Event()))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def guarded(laid: Reducer, **more: Any) -> tuple[Guarded, Guarded]:
    """Guards before the stores of the reducer, from now on."""
    laid.desk, state, blobs = guard(laid.desk, **more)
    laid.network = Network(laid.desk.state)
    laid.stack.push_async_callback(laid.network.close)
    return state, blobs


async def trained(folder: Path, *, state_at: int | None, blobs_at: int | None, after: bool) -> tuple[str, int, int]:
    """A session with one failure: its model, and how many calls it took. It must end well."""
    async with reducer(folder, combiners=("a", "b")) as laid:
        await laid.client("c0", "a", learns(1.0, accuracy=0.5))
        await laid.client("c1", "b", learns(4.0, accuracy=1.0))
        session = laid.desk.sessions.create(CONFIG)["_id"]
        plain = laid.desk
        state, blobs = guarded(laid)
        state.fails_at, blobs.fails_at, state.after, blobs.after = state_at, blobs_at, after, after
        async with leading(laid):
            await until(lambda: plain.sessions.get(session)["ended"])
        ended = plain.sessions.get(session)
        assert (ended["status"], ended["reason"]) == ("finished", "")
        rounds = plain.state.find("rounds", sort="_id")
        assert [(r["_id"].split(".")[2:], r["status"]) for r in rounds] == [
            (["train", "1"], "committed"),
            (["validate", "1"], "committed"),
        ]
        assert [len(r["clients"]) for r in rounds] == [2, 2]
        assert plain.verify().records == 2
        assert not any(combiner.rounds.known() for combiner in laid.combiners.values())
        return rounds[0]["model"], len(state.calls), len(blobs.calls)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_session_survives_a_failure_of_any_call_of_its_stores(tmp_path: Path, after: bool) -> None:
    """I1, I5: one call fails, before the store did it or after; every call of a session in its turn."""
    model, of_state, of_blobs = await trained(tmp_path / "none", state_at=None, blobs_at=None, after=after)
    for number in range(of_state):
        found, *_ = await trained(tmp_path / f"s{number}", state_at=number, blobs_at=None, after=after)
        assert found == model
    for number in range(of_blobs):
        found, *_ = await trained(tmp_path / f"b{number}", state_at=None, blobs_at=number, after=after)
        assert found == model


async def test_a_round_that_ends_while_the_store_is_away_is_committed_when_it_is_back(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        slow = await laid.client("c0", "a", hangs)
        plain, session = laid.desk, laid.desk.sessions.create(replace(CONFIG, validate=False))["_id"]
        state, _ = guarded(laid)
        async with leading(laid):
            await soon(slow.given.wait())
            state.away = True
            await learns(3.0)(slow, slow.tasks[0])  # accepted while the reducer's store is away
            await until(state.refused.is_set)
            assert plain.sessions.get(session)["ended"] is None
            state.away = False
            await until(lambda: plain.sessions.get(session)["ended"])
        assert plain.sessions.get(session)["status"] == "finished"
        latest = plain.trail.latest()
        assert latest is not None
        assert laid.value(latest["model"]) == 3.0


async def test_a_combiner_that_comes_back_elsewhere_while_the_store_is_away_keeps_its_updates(tmp_path: Path) -> None:
    """I1: the time that the store is away is no fault of the combiner."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client, silent = await laid.client("c0", "a", learns(3.0)), await laid.client("c1", "a", hangs)
        plain, clock = laid.desk, asyncio.get_running_loop().time
        state, _ = guarded(laid)
        running = asyncio.create_task(laid.round(laid.plan(client, silent), give_up_s=GIVE_UP_S).run())
        await soon(silent.given.wait())
        while (await laid.network.survey())[0].report.rounds[0].progress.answered == 0:  # type: ignore[union-attr]
            continue
        state.away = True
        await laid.kill("a")
        await until(state.refused.is_set)
        lost_at = clock()
        await until(lambda: clock() > lost_at + 2 * GIVE_UP_S)
        laid.desk = plain  # the store is back, and the first to speak to it is the combiner
        await laid.combiner("a")
        await laid.client("c1", "a", learns(5.0))
        assert not running.done()
        state.away = False
        result = await soon(running)
        assert laid.value(result.model) == 4.0


async def test_a_session_fails_with_its_reason_when_the_patience_is_over(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        slow = await laid.client("c0", "a", hangs)
        plain, session = laid.desk, laid.desk.sessions.create(CONFIG)["_id"]
        state, _ = guarded(laid, patience_s=0.0)
        async with leading(laid):
            await soon(slow.given.wait())
            state.away = True
            await learns(3.0)(slow, slow.tasks[0])
            await until(lambda: ("get", "rounds") in state.calls[-2:])  # the round's failure is to be noted
            state.away = False
            await until(lambda: plain.sessions.get(session)["ended"])
            await until(lambda: not laid.combiners["a"].rounds.known())  # it was told that the round is given up
        ended = plain.sessions.get(session)
        assert (ended["status"], ended["code"]) == ("failed", StoreAway.code)
        assert ended["reason"] == "the store is away; waited for 0 s"
        assert laid.document(f"{session}.1.train.1")["status"] == "failed"


async def test_an_engine_leads_on_in_its_term_after_the_store_was_away(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        slow = await laid.client("c0", "a", hangs)
        laid.desk = replace(laid.desk, settings=replace(laid.desk.settings, lease_s=0.2))
        plain, session = laid.desk, laid.desk.sessions.create(replace(CONFIG, validate=False))["_id"]
        state, _ = guarded(laid)
        engine = Engine(laid.desk)
        await asyncio.to_thread(engine.start)
        await soon(slow.given.wait())
        state.away = True
        await until(state.refused.is_set)
        await learns(3.0)(slow, slow.tasks[0])
        before = plain.state.get("leases", "control")
        assert before is not None
        rival = Lease(plain.state, holder="rival", ttl_s=0.2, clock=lambda: 0.0)
        assert rival.try_take() is None
        state.away = False
        await until(lambda: plain.sessions.get(session)["ended"])
        assert plain.sessions.get(session)["status"] == "finished"
        after = plain.state.get("leases", "control")
        assert after is not None
        assert (after["term"], after["holder"]) == (before["term"], before["holder"])
        await asyncio.to_thread(engine.stop)


# ── the lease ──


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_beat_whose_answer_was_lost_does_not_cost_the_lease(state: SqliteState) -> None:
    store, clock = Guarded(state), Clock()
    lease = Lease(store, holder="one", ttl_s=5.0, clock=clock)
    assert lease.try_take() == 1
    store.fails_at, store.after = len(store.calls), True
    with pytest.raises(Unavailable):
        lease.renew()
    clock.now += 60.0
    with pytest.raises(Unavailable, match="whether this worker still leads"):
        lease.holds()
    assert lease.renew()
    assert lease.holds()
    assert (state.get("leases", "control") or {})["beat"] == 2


def test_a_lease_that_another_took_while_the_store_was_away_is_lost(state: SqliteState) -> None:
    store, clock = Guarded(state), Clock()
    one = Lease(store, holder="one", ttl_s=5.0, clock=clock)
    other = Lease(state, holder="other", ttl_s=5.0, clock=clock)
    assert one.try_take() == 1
    assert other.try_take() is None
    store.away = True
    with pytest.raises(Unavailable):
        one.renew()
    clock.now += 5.0
    assert other.try_take() == 2
    store.away = False
    assert not one.renew()
    assert not one.holds()


def test_a_frozen_leader_whose_time_is_over_does_not_hold_the_lease(state: SqliteState) -> None:
    clock = Clock()
    lease = Lease(state, holder="one", ttl_s=5.0, clock=clock)
    lease.try_take()
    assert lease.holds()
    clock.now += 5.0
    assert not lease.holds()


# ── waiting ──


async def test_it_is_said_at_once_that_a_store_is_away_and_then_rarely(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fedn")
    stores, tries = Stores(60.0), 0

    def work() -> int:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Unavailable("the store is away")
        return tries

    assert sorted(await asyncio.gather(stores.do(work), stores.do(work))) == [4, 5]
    assert [r.getMessage().split(",")[0][:26] for r in caplog.records] == [
        "waiting: the store is away",
        "waited for " + f"{stores.waited_s:.1f} s",
    ]
    assert stores.waited_s > 0


async def test_a_waiting_leader_can_be_stopped() -> None:
    def away() -> None:
        raise Unavailable("the store is away")

    waiting = asyncio.create_task(Stores(60.0).do_at_last(away))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting)


# ── the newest model ──


async def test_a_session_does_not_go_on_from_a_model_that_is_missing(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        latest = laid.desk.check_newest()
        assert latest is not None
        laid.desk.blobs.delete(latest["model"])
        with pytest.raises(ModelMissing, match=latest["model"]):
            laid.desk.check_newest()
        session = laid.desk.sessions.create(CONFIG)["_id"]
        async with leading(laid):
            await until(lambda: laid.desk.sessions.get(session)["ended"])
        ended = laid.desk.sessions.get(session)
        assert (ended["status"], ended["code"]) == ("failed", "model_missing")
        assert latest["model"] in ended["reason"]


async def test_who_leads_no_more_ends_no_session_after_an_outage(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        session, answers = laid.desk.sessions.create(CONFIG)["_id"], iter([None, False])

        def fresh() -> bool:
            answer = next(answers)
            if answer is None:
                raise Unavailable("not known yet")
            return answer

        driver = Driver(laid.desk, laid.network, term=1, fresh=fresh)
        with pytest.raises(StaleTerm):
            await soon(driver.lead(asyncio.Event()))
        assert laid.desk.sessions.get(session)["ended"] is None
        assert len(laid.desk.trail.records()) == 1
