"""A round that goes on with other participants: what was answered stays, who left does not count (I2, I3)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedn.combiner.journal import Journal
from fedn.combiner.round import Answer
from fedn.errors import Unavailable
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import Hand, Table, arrive, table
from test.unit.test_combiner_recovery import send


async def train(laid: Table, hand: Hand, value: float) -> pb.Receipt:
    return await hand.submit("r1", update=await send(laid, hand, value))


async def test_those_who_stay_are_not_asked_again_and_those_who_come_are_asked(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two, three = await arrive(laid, "one", "two", "three")
        await laid.start("one", "two")
        await one.task()
        await two.task()
        assert (await train(laid, one, 1.0)).accepted
        await laid.start("one", "two", "three", epoch=2)
        task = await three.task()
        assert (await two.task()).task_id == "r1.two"  # given again; the client recognises it
        assert task.task_id == "r1.three"
        assert (await train(laid, two, 2.0)).accepted
        assert (await train(laid, three, 4.0)).accepted
        outcome = await laid.outcome()
        assert (outcome.weight, {c.status for c in outcome.clients}) == (3, {"accepted"})


async def test_who_has_left_is_in_no_sum_though_the_journal_has_its_update(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        assert (await train(laid, one, 1.0)).accepted
        await two.task()
        await laid.start("two", epoch=2)
        await two.task()
        assert (await train(laid, two, 5.0)).accepted
        outcome = await laid.outcome()
        assert [(c.client_id, c.status) for c in outcome.clients] == [("two", "accepted")]
        assert outcome.weight == 1
        again = pb.Update(model="0" * 64, base_model=laid.model, num_examples=1)
        assert (await one.submit("r1", update=again)).code == "not_a_participant"


async def test_a_round_that_was_done_is_folded_anew_with_who_has_come(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one")
        await one.task()
        assert (await train(laid, one, 1.0)).accepted
        first = await laid.outcome()
        await laid.start("one", "two", epoch=2)
        await two.task()
        assert (await train(laid, two, 5.0)).accepted
        second = await laid.outcome()
        assert (first.weight, second.weight) == (1, 2)
        assert first.sum != second.sum


async def test_a_failure_and_a_refusal_are_not_forgotten(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        await one.submit("r1", failure=pb.Failure(code="entry_point_failed", reason="exit code 3"))
        wrong = await send(laid, two, 2.0)
        wrong.base_model = "0" * 64
        assert (await two.submit("r1", update=wrong)).code == "wrong_base"
        await laid.start("one", "two", epoch=2)
        outcome = await laid.outcome()
        assert {c.client_id: c.code for c in outcome.clients} == {"one": "entry_point_failed", "two": "wrong_base"}
        assert dict(outcome.refused) == {"wrong_base": 1}


async def test_a_lower_epoch_changes_nothing(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one", "two", epoch=3)
        await laid.start("one", epoch=2)
        await two.task()
        assert (await train(laid, two, 2.0)).accepted
        assert (await train(laid, one, 2.0)).accepted
        assert (await laid.outcome()).weight == 2


async def test_an_update_that_is_written_ahead_at_that_moment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, let_go, accept = threading.Event(), threading.Event(), Journal.accept

    def slowly(journal: Journal, answers: Sequence[tuple[str, Answer]]) -> None:
        reached.set()
        assert let_go.wait(20)
        accept(journal, answers)

    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        update = await send(laid, one, 1.0)
        monkeypatch.setattr(Journal, "accept", slowly)
        submitting = asyncio.create_task(one.submit("r1", update=update))
        await asyncio.to_thread(reached.wait, 20)
        await laid.start("one", "two", epoch=2)
        with pytest.raises(Unavailable):  # the round is being opened again: who comes now comes again
            async with rpc_errors(unreachable=Unavailable):
                await two.submit("r1", update=await late(laid, two))
        let_go.set()
        assert (await submitting).accepted
        monkeypatch.undo()
        while (await laid.progress()).phase == "stage":
            continue
        assert (await train(laid, two, 3.0)).accepted
        assert (await laid.outcome()).weight == 2


async def late(laid: Table, hand: Hand) -> pb.Update:
    """An update that is not uploaded yet."""
    _, digest = laid.write({"w": np.full(4, 3.0, np.float32)}, "late")
    return pb.Update(model=digest, base_model=laid.model, num_examples=1)
