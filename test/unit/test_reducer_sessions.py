"""The session driver and the engine: sessions from start to end, whoever leads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.errors import QuorumNotMet, StaleTerm, Unavailable, VersionConflict
from fedn.reducer.desk import Desk
from fedn.reducer.driver import Driver
from fedn.reducer.engine import Engine
from fedn.reducer.network import Network, Seen
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.views import session_view
from fedn.trail.walk import verify
from test.unit.combiner_bench import until
from test.unit.reducer_bench import Reducer, fails, hangs, learns, reducer, soon


def create(laid: Reducer, **config: Any) -> str:
    session = laid.desk.sessions.create(SessionConfig.parse({"rounds": 2, "seed": 7, "validate": False} | config))
    return str(session["_id"])


@asynccontextmanager
async def leading(laid: Reducer, *, term: int = 1) -> AsyncIterator[asyncio.Task[None]]:
    """A driver that leads until the block ends, as when its process dies."""
    driver = Driver(laid.desk, laid.network, term=term, fresh=lambda: True)
    task = asyncio.create_task(driver.lead(asyncio.Event()))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, StaleTerm):
            await task


async def ended(laid: Reducer, session: str) -> dict[str, Any]:
    """The session once it has ended."""
    await until(lambda: laid.desk.sessions.get(session)["ended"])
    return laid.desk.sessions.get(session)


async def test_a_session_trains_and_validates_its_rounds_and_ends(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        await laid.client("c0", "a", learns(1.0, accuracy=0.5))
        await laid.client("c1", "b", learns(3.0, accuracy=1.0))
        session = create(laid, validate=True)
        async with leading(laid):
            assert (await ended(laid, session))["status"] == "finished"
        view = session_view(laid.desk, laid.desk.sessions.get(session), await laid.network.survey())
        assert [(r["round"], r["status"], r["accuracy"]) for r in view["rounds"]] == [
            (1, "committed", 0.75),
            (2, "committed", 0.75),
        ]
        assert (view["round"], view["live"]) == (2, None)
        assert verify(laid.desk.trail.records(), laid.desk).records == 3


async def test_a_failed_round_is_tried_again_up_to_attempts(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", fails)
        session = create(laid, attempts=2)
        async with leading(laid):
            found = await ended(laid, session)
        assert (found["status"], found["code"]) == ("failed", "quorum_not_met")
        assert "round 1 failed 2 times" in found["reason"]
        assert [task.round_id for task in client.tasks] == [f"{session}.1.train.1", f"{session}.1.train.2"]


async def test_a_validation_that_fails_costs_no_round(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        train = learns(1.0)

        async def answer(client: Any, task: Any) -> None:
            await (train if ".train." in task.round_id else fails)(client, task)

        await laid.client("c0", "a", answer)
        session = create(laid, validate=True)
        async with leading(laid):
            assert (await ended(laid, session))["status"] == "finished"
        assert len(laid.desk.trail.records()) == 3


async def test_a_package_that_cannot_validate_is_not_asked_to(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(1.0))
        package = laid.desk.state.get("context", "package")
        assert package is not None
        laid.desk.state.replace("context", package | {"entry_points": {"train": []}})
        session = create(laid, validate=True)
        async with leading(laid):
            assert (await ended(laid, session))["status"] == "finished"
        assert [task.round_id for task in client.tasks] == [f"{session}.{number}.train.1" for number in (1, 2)]


async def test_a_session_without_its_clients_says_so_and_ends_by_wait_timeout(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        session = create(laid, clients_required=3, wait_timeout=0.3)
        async with leading(laid):
            found = await ended(laid, session)
        assert found["code"] == QuorumNotMet.code
        assert found["reason"] == "1 of 3 required clients are connected, and wait_timeout (0.3 s) is over"


async def test_a_waiting_session_can_be_stopped(tmp_path: Path) -> None:
    async with reducer(tmp_path) as laid:
        session = create(laid)
        async with leading(laid):
            await until(lambda: "required" in laid.desk.sessions.get(session)["reason"])
            laid.desk.sessions.ask_to_stop(session)
            assert (await ended(laid, session))["status"] == "stopped"


async def test_stopping_aborts_the_round_and_counts_as_no_failure(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        session = create(laid, attempts=1)
        async with leading(laid):
            await soon(client.given.wait())
            laid.desk.sessions.ask_to_stop(session)
            found = await ended(laid, session)
        assert (found["status"], found["reason"]) == ("stopped", "stopped by the user")


async def test_a_stop_reaches_a_combiner_that_was_away_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        session, aborts = create(laid), 0
        abort = RoundRun.abort

        async def sometimes(run: RoundRun, reason: str) -> None:
            nonlocal aborts
            aborts += 1
            if aborts > 1:
                await abort(run, reason)

        monkeypatch.setattr(RoundRun, "abort", sometimes)
        async with leading(laid):
            await soon(client.given.wait())
            laid.desk.sessions.ask_to_stop(session)
            assert (await ended(laid, session))["status"] == "stopped"
        assert aborts > 1


async def test_the_next_leader_goes_on_with_the_round_as_it_was_laid_out(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        session = create(laid)
        async with leading(laid, term=1):
            await soon(client.given.wait())
        await laid.client("c1", "a", learns(9.0))  # not a participant of the round that was begun
        client.answer = learns(3.0)
        await client.answer(client, client.tasks[0])
        async with leading(laid, term=2):
            assert (await ended(laid, session))["status"] == "finished"
        first = laid.document(f"{session}.1.train.1")
        assert [p["client_id"] for p in first["participants"]] == ["c0"]
        assert laid.value(first["model"]) == 3.0
        assert laid.value(laid.document(f"{session}.2.train.1")["model"]) == 6.0


async def test_a_round_whose_leader_died_after_the_commit_is_shown_as_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(2.0, loss=0.5))
        session, died = create(laid, rounds=1), asyncio.Event()

        async def die(*_: object, **__: object) -> None:
            died.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(RoundRun, "_end", die)
            async with leading(laid, term=1):
                await soon(died.wait())
        assert laid.document(f"{session}.1.train.1")["status"] == "started"
        async with leading(laid, term=2):
            assert (await ended(laid, session))["status"] == "finished"
        document = laid.document(f"{session}.1.train.1")
        assert (document["status"], document["metrics"]) == ("committed", {"loss": 0.5})
        assert document["model"] == laid.desk.trail.records()[-1]["model"]
        assert len(client.tasks) == 1


async def test_a_leader_without_its_lease_ends_no_session(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        session = create(laid, wait_timeout=0.0)
        driver = Driver(laid.desk, laid.network, term=1, fresh=lambda: False)
        with pytest.raises(StaleTerm):
            await soon(driver.lead(asyncio.Event()))
        assert laid.desk.sessions.get(session)["ended"] is None


async def test_a_mistake_in_a_round_becomes_the_sessions_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(2.0))

        async def broken(run: RoundRun) -> None:
            raise RuntimeError("a mistake")

        monkeypatch.setattr(RoundRun, "run", broken)
        session = create(laid)
        async with leading(laid):
            found = await ended(laid, session)
        assert (found["status"], found["code"], found["reason"]) == ("failed", "internal", "RuntimeError: a mistake")


async def test_a_session_without_a_package_fails_with_its_code(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        laid.desk.state.clear("context", {})
        session = create(laid)
        async with leading(laid):
            assert (await ended(laid, session))["code"] == "package_missing"


async def test_a_session_without_a_seed_fails_with_its_code(tmp_path: Path) -> None:
    async with reducer(tmp_path) as laid:
        desk = Desk.open(replace(laid.desk.settings, dir=tmp_path / "empty"))
        desk.state.insert("context", {"_id": "package", "digest": "0" * 64})
        session = desk.sessions.create(SessionConfig())["_id"]
        task = asyncio.create_task(Driver(desk, laid.network, term=1, fresh=lambda: True).lead(asyncio.Event()))
        empty = Reducer(desk, laid.network, tmp_path, laid.stack, "")
        assert (await ended(empty, session))["code"] == "seed_missing"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        desk.close()


@asynccontextmanager
async def engine(laid: Reducer) -> AsyncIterator[Engine]:
    running = Engine(laid.desk)
    await asyncio.to_thread(running.start)
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


async def test_an_engine_leads_and_gives_the_lease_up_when_it_stops(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        for number in (1, 2):
            async with engine(laid) as running:
                session = create(laid, rounds=1)
                running.wake()
                assert (await ended(laid, session))["status"] == "finished"
            lease = laid.desk.state.get("leases", "control")
            assert lease is not None
            assert (lease["term"], lease["holder"]) == (number, "")


async def test_an_engine_whose_lease_was_taken_leads_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fedn")
    async with reducer(tmp_path) as laid:
        desk = replace(laid.desk, settings=replace(laid.desk.settings, lease_s=0.2))
        laid.desk = desk
        async with engine(laid):
            await until(lambda: "this worker leads, term 1" in caplog.text)
            await soon(asyncio.to_thread(rob, desk))
            await until(lambda: "the lease was taken by another worker" in caplog.text)
            await until(lambda: "this worker leads, term 9" in caplog.text)  # the robber never beats


def rob(desk: Desk) -> None:
    """Another worker takes the lease."""
    while True:
        with contextlib.suppress(VersionConflict):
            lease = desk.state.get("leases", "control")
            assert lease is not None
            desk.state.replace("leases", lease | {"holder": "other", "term": 8})
            return


async def test_an_engine_answers_from_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        with pytest.raises(Unavailable, match="starting"):
            Engine(laid.desk).ask(lambda network: network.survey())
        async with engine(laid) as running:
            seen = await asyncio.to_thread(running.ask, lambda network: network.survey())
            assert [(s.name, s.up) for s in seen] == [("a", True)]
            monkeypatch.setattr("fedn.reducer.engine.ASK_DEADLINE_S", 0.05)

            async def never(network: Network) -> list[Seen]:
                await asyncio.Event().wait()
                return []

            with pytest.raises(Unavailable, match="too long"):
                await asyncio.to_thread(running.ask, never)


async def test_a_herd_costs_one_survey(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        surveys = await asyncio.gather(*(laid.network.recent() for _ in range(20)))
        assert all(survey is surveys[0] for survey in surveys)


async def test_a_combiner_that_moves_is_reached_at_its_new_address_only(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        before = await laid.network.find("a")
        assert (await laid.network.survey())[0].up
        await laid.kill("a")
        assert not (await laid.network.survey())[0].up
        await laid.combiner("a")
        assert (await laid.network.survey())[0].up
        assert (await laid.network.find("a")).address != before.address
