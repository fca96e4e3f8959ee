"""A combiner announces itself for ever, to a reducer that is a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from pathlib import Path

import pytest

from fedn.combiner import announce as announcing
from fedn.combiner.announce import announce
from fedn.combiner.roster import Roster
from fedn.combiner.rounds import Rounds
from fedn.combiner.server import serve
from fedn.errors import FednError, NameTaken, SessionRunning, Unavailable
from fedn.storage.readiness import Readiness
from fedn.wire.rest import async_client
from test.unit.combiner_bench import settings, until
from test.unit.rest_stub import Reply, RestStub

SAID = {"name": "north", "identity": "id", "address": "host:1"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "AGAIN_S", 0.02)


async def say(address: str) -> None:
    async with async_client(address) as client:
        await announce(
            client,
            name=SAID["name"],
            identity=SAID["identity"],
            address=SAID["address"],
            readiness=Readiness(None),
            orphaned=lambda _: None,
            orphan_s=20.0,
        )


async def test_it_announces_again_and_again() -> None:
    async with RestStub() as reducer:
        task = asyncio.create_task(say(reducer.address))
        for _ in range(3):
            call = await reducer.call()
            assert (call.method, call.path, call.json) == ("POST", "/add", SAID)
        task.cancel()


async def test_a_name_that_is_taken_ends_it() -> None:
    async with RestStub(Reply.error(NameTaken("another combiner is up under the name 'north'"))) as reducer:
        with pytest.raises(NameTaken, match="north"):
            await asyncio.wait_for(say(reducer.address), 10)


@pytest.mark.parametrize("error", [FednError("a mistake"), SessionRunning("busy")])
async def test_other_refusals_are_logged_and_tried_again(error: FednError, caplog: pytest.LogCaptureFixture) -> None:
    async with RestStub(Reply.error(error), Reply()) as reducer:
        task = asyncio.create_task(say(reducer.address))
        await reducer.call()
        await reducer.call()
        assert error.reason in caplog.text
        task.cancel()


async def test_a_reducer_that_comes_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fedn")
    reducer = RestStub()
    async with reducer:
        port = reducer.port
        task = asyncio.create_task(say(reducer.address))
        await reducer.call()
    await until(lambda: "does not answer" in caplog.text)
    async with RestStub(port=port) as back:
        await asyncio.wait_for(back.call(), 15)
    task.cancel()
    assert "knows combiner north at host:1" in caplog.text


async def test_a_combiner_that_drains_is_not_ready_and_announces_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ready"
    seen: dict[str, bool | str] = {}

    async def drain(rounds: Rounds, patience_s: float) -> None:
        assert patience_s == 7
        await asyncio.sleep(0)  # the announcement learns that it is over
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        seen.update(reason=json.loads(file.read_text())["reason"], announces="announce" in names)

    monkeypatch.setattr(Rounds, "drain", drain)
    async with RestStub() as reducer:
        serving = asyncio.create_task(serve(settings(tmp_path, reducer=reducer.address, ready_file=file, drain_s=7)))
        await reducer.call()
        await until(lambda: json.loads(file.read_text())["reason"] is None)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 15)
    assert seen == {"reason": "it is draining", "announces": False}
    assert json.loads(file.read_text())["reason"] == "it is stopping"


async def test_a_combiner_whose_name_is_taken_stops_with_the_reason(tmp_path: Path) -> None:
    async with RestStub(Reply.error(NameTaken("taken"))) as reducer:
        with pytest.raises(NameTaken):
            await asyncio.wait_for(serve(settings(tmp_path, reducer=reducer.address)), 15)


async def test_clients_are_asked_to_look_for_another_combiner_while_the_reducer_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(Roster, "tell_all", lambda _, command: heard.append(command.reconsider.reason))
    async with RestStub(Reply.error(Unavailable("its store is away"))) as reducer:
        serving = asyncio.create_task(serve(settings(tmp_path, reducer=reducer.address, orphan_s=0.05)))
        await until(lambda: len(heard) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(15):
            await serving
    assert "combiner north has not reached the reducer for" in heard[0]


def test_an_absence_is_told_when_it_has_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = 100.0, list[float]()
    monkeypatch.setattr("fedn.combiner.announce.time.monotonic", lambda: now)
    absence = announcing.Absence(told.append, 20.0)
    for at, said in ((100, []), (119, []), (120, [20]), (130, [20]), (141, [20, 41]), (160, [20, 41])):
        now = at
        absence.goes_on()
        assert told == said
    absence.ends()
    now = 1000.0
    absence.goes_on()
    assert told == [20, 41]
