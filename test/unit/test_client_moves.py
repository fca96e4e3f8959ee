"""A client between two combiners: its update counts wherever it arrives, and once (I1, I2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.client.tasks import Tasks
from fedn.client.transfers import Transfers
from fedn.combiner.intake import Intake
from fedn.combiner.round import Participant
from fedn.errors import NotAParticipant
from fedn.wire import inline
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.client_bench import Bench, bench
from test.unit.combiner_bench import Table, arrive, table, until


async def trained_elsewhere(set_up: Bench, laid: Table) -> None:
    """The client has trained for the round under a combiner that is lost; this one has not been given it yet."""
    await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
    set_up.live()
    await set_up.attached()
    await laid.start("c0", settings=set_up.settings("wait"))
    await until(lambda: set_up.runs)
    await laid.start("other", settings=set_up.settings("wait"), epoch=2)
    await until(lambda: laid.combiner.rounds.get("r1").phase == "collect")


async def answered(laid: Table) -> str:
    async with asyncio.timeout(4.0):
        while "c0" not in (answers := laid.combiner.rounds.get("r1").answers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return answers["c0"].code or answers["c0"].status


async def test_a_client_that_is_given_to_a_combiner_while_it_asks_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: it has moved with its upload to a combiner that the reducer gives it to only then."""
    check = Intake.check_upload

    def given_just_then(self: Intake, start: Any) -> None:
        try:
            check(self, start)
        except NotAParticipant:
            order = self._rounds.get("r1").order
            self._rounds.start(replace(order, participants={"c0": Participant("c0", 0, 0)}, epoch=3))
            raise

    monkeypatch.setattr(inline, "MOST_BYTES", 0)
    monkeypatch.setattr(Intake, "check_upload", given_just_then)
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await trained_elsewhere(set_up, laid)
        set_up.go()
        assert await answered(laid) == "accepted"


async def test_a_client_that_is_given_to_a_combiner_while_its_small_update_is_refused_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, for an update that comes with its result."""
    submit = Intake.submit

    async def given_just_then(self: Intake, result: pb.TaskResult) -> pb.Receipt:
        receipt = await submit(self, result)
        if receipt.code == NotAParticipant.code:
            assert result.content
            order = self._rounds.get("r1").order
            self._rounds.start(replace(order, participants={"c0": Participant("c0", 0, 0)}, epoch=3))
        return receipt

    monkeypatch.setattr(Intake, "submit", given_just_then)
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await trained_elsewhere(set_up, laid)
        set_up.go()
        assert await answered(laid) == "accepted"


async def test_a_task_that_is_given_again_while_its_result_is_being_refused_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8, I9: command and refusal come by different streams, the command first."""
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await trained_elsewhere(set_up, laid)
        taken, upload, take, refused = asyncio.Event(), Transfers.upload, Tasks.take, list[int]()

        def take_and_say(self: Tasks, command: pb.RunTask) -> None:
            take(self, command)
            taken.set()

        async def given_meanwhile(self: Transfers, *args: Any, **more: Any) -> None:
            if not refused:
                refused.append(1)
                await laid.start("other", "c0", settings=set_up.settings("wait"), epoch=3)
                await asyncio.wait_for(taken.wait(), 10)
                raise NotAParticipant("as it was a moment ago")
            await upload(self, *args, **more)

        monkeypatch.setattr(Tasks, "take", take_and_say)
        monkeypatch.setattr(inline, "MOST_BYTES", 0)
        monkeypatch.setattr(Transfers, "upload", given_meanwhile)
        set_up.go()
        assert await answered(laid) == "accepted"


async def test_a_client_that_was_given_up_as_away_is_asked_when_it_is_given_to_its_combiner_again(
    tmp_path: Path,
) -> None:
    """I1, I9: the combiner was cut off from its clients too, and had given them up before it was fenced."""
    async with table(tmp_path, reconnect_grace_s=0.1) as laid:
        (one,) = await arrive(laid, "one")
        await laid.start("one")
        await one.task()
        one.leave()
        outcome = await laid.outcome()
        assert [c.code for c in outcome.clients] == ["client_lost"]
        await one.attach()
        await laid.start("one", epoch=2)
        await until(lambda: laid.combiner.rounds.get("r1").phase in ("collect", "done"))
        assert "one" not in laid.combiner.rounds.get("r1").answers
        assert (await one.task()).task_id == "r1.one"
