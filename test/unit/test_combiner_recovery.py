"""What a combiner must not lose or count twice: races with its own phases, hang-ups, restarts, rounds nobody ended."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.combiner.journal import Journal
from fedn.combiner.round import Answer, Order, Round
from fedn.errors import (
    BadInput,
    CombinerUnreachable,
    Conflict,
    DiskFull,
    EntryPointFailed,
    NotFound,
    StaleTerm,
    TransferFailed,
    Unavailable,
)
from fedn.wire.calls import calling
from fedn.wire.settings import MESSAGE_LIMIT
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1.blobs_pb2 import UploadRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub
from test.unit.combiner_bench import ZEROS, Hand, Table, arrive, table, until


class Gate:
    """A blocking call that waits until the test lets it through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.open.wait(20)

    def before(self, read: Callable[[Journal, str], list[Answer]]) -> Callable[[Journal, str], list[Answer]]:
        def reads(journal: Journal, round_id: str) -> list[Answer]:
            self.wait()
            return read(journal, round_id)

        return reads


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def send(laid: Table, hand: Hand, value: float, round_id: str = "r1") -> pb.Update:
    path, digest = laid.write({"w": np.full(4, value, np.float32)}, f"update-{value}")
    await hand.send(path, digest, round_id)
    return pb.Update(model=digest, base_model=laid.model, num_examples=1)


async def unavailable(work: Any) -> None:
    with pytest.raises(Unavailable):
        async with rpc_errors(unreachable=Unavailable):
            await work


async def test_an_accepted_update_that_is_sent_again_while_the_round_is_opened_again_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    async with table(tmp_path) as laid:
        (one, _) = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        update = await send(laid, one, 1.0)
        assert (await one.submit("r1", update=update)).accepted
        staged = (laid.model, laid.model_size, laid.package)
    monkeypatch.setattr(Journal, "answers", gate.before(Journal.answers))
    async with table(tmp_path, reconnect_grace_s=0.1) as laid:
        laid.model, laid.model_size, laid.package = staged
        await laid.start("one", "two")
        await asyncio.to_thread(gate.reached.wait, 20)
        one = laid.hand("one")
        await unavailable(one.submit("r1", update=update))
        path, digest = laid.write({"w": np.full(4, 1.0, np.float32)}, "again")
        await unavailable(one.send(path, digest, "r1"))
        gate.open.set()
        outcome = await laid.outcome()
        assert {c.client_id: c.status for c in outcome.clients} == {"one": "accepted", "two": "failed"}
        assert (outcome.weight, dict(outcome.refused)) == (1, {})


async def test_a_client_that_hangs_up_while_its_update_is_journalled_has_delivered_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    accept = Journal.accept

    def slowly(journal: Journal, answers: Sequence[tuple[str, Answer]]) -> None:
        gate.wait()
        accept(journal, answers)

    monkeypatch.setattr(Journal, "accept", slowly)
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        update = await send(laid, hand, 1.0)
        submitting = asyncio.create_task(hand.submit("r1", update=update))
        await asyncio.to_thread(gate.reached.wait, 20)
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
        again = asyncio.create_task(hand.submit("r1", update=update))
        gate.open.set()
        assert (await again).accepted
        outcome = await laid.outcome()
        assert (outcome.weight, dict(outcome.refused)) == (1, {})


async def test_a_journal_that_cannot_be_written_now_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        update = await send(laid, hand, 1.0)

        def busy(*_: object) -> None:
            raise Unavailable("the journal is locked")

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "accept", busy)
            await unavailable(hand.submit("r1", update=update))
        assert (await hand.submit("r1", update=update)).accepted
        assert dict((await laid.outcome()).refused) == {}


async def test_the_ranges_that_are_kept_are_those_of_the_update_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with table(tmp_path) as laid:
        one, _ = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        large, small = await send(laid, one, 1e30), await send(laid, one, 1e-30)
        first, second = await asyncio.gather(
            one.submit("r1", update=large), laid.hand("one").submit("r1", update=small)
        )
        assert [first.accepted, second.accepted].count(True) == 1
        (round_,) = laid.combiner.rounds.known()
        counted = round_.answers["one"].update
        ranges = await laid.combiner._intake._look_at_update(round_, counted, b"")
        assert round_.ranges["one"].tops.tolist() == ranges.tops.tolist()


async def test_one_who_stops_awaiting_a_round_takes_nothing_from_another(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        request = control.AwaitRoundRequest(term=1, round_id="r1")
        leaves, stays = laid.control.AwaitRound(request), laid.control.AwaitRound(request)
        await leaves.read()
        await stays.read()
        leaves.cancel()
        await hand.task()
        await hand.submit("r1", update=await send(laid, hand, 1.0))
        while not (progress := await asyncio.wait_for(stays.read(), 10)).HasField("outcome"):
            pass
        assert progress.outcome.weight == 1


async def test_a_round_whose_end_was_never_told_ends_when_the_next_one_starts(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        await hand.submit("r1", update=await send(laid, hand, 1.0))
        await laid.outcome()
        await laid.start("a", round_id="r2")
        assert (await hand.command()).ended.round_id == "r1"
        assert (await hand.task()).round_id == "r2"
        assert [round_.order.round_id for round_ in laid.combiner.rounds.known()] == ["r2"]
        assert set(laid.combiner.shelf.digests()) == {laid.model, laid.package}


async def test_a_round_of_a_former_life_ends_when_another_one_starts(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        await hand.submit("r1", update=await send(laid, hand, 1.0))
        await laid.outcome()
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a", round_id="r2")
        await hand.task()
        assert set(laid.combiner.shelf.digests()) == {laid.model, laid.package}


async def test_a_lower_term_is_refused_after_a_restart_also_when_all_rounds_have_ended(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a", term=5)
        await hand.task()
        await laid.control.EndRound(control.EndRoundRequest(term=5, round_id="r1", committed=False))
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        with pytest.raises(StaleTerm, match="newest leader's is 5"):
            async with rpc_errors(unreachable=Conflict):
                await laid.start("a", round_id="r2", term=4)


async def test_who_hangs_up_on_ending_a_round_does_not_stop_it_halfway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(Journal, "answers", gate.before(Journal.answers))
    async with table(tmp_path) as laid:
        await arrive(laid, "a")
        await laid.start("a")
        await asyncio.to_thread(gate.reached.wait, 20)
        (round_,) = laid.combiner.rounds.known()
        ending = laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1"))
        await until(lambda: not laid.combiner.rounds.known())
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        gate.open.set()
        await asyncio.wait_for(round_.ended.wait(), 10)
        assert round_.outcome is not None
        assert round_.outcome.reason == "the reducer ended the round"


@pytest.mark.parametrize("round_id", ["", "../r", "a/b", "a\0b", "x" * 201])
async def test_a_round_id_that_cannot_name_a_file_is_refused(tmp_path: Path, round_id: str) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        with pytest.raises(BadInput, match="round's id"):
            async with rpc_errors(unreachable=Conflict):
                await laid.start("a", round_id=round_id)


async def test_the_outcome_of_a_thousand_crashes_fits_one_message() -> None:
    clients = [f"client-{k}" for k in range(1000)]
    round_ = Round(order(clients))
    for client in clients:
        round_.settle(Answer.failed(client, EntryPointFailed("exit code 3"), stderr_tail="é" * 65536 + "the end"))
    round_.finish()
    assert round_.outcome is not None
    assert round_.outcome.ByteSize() < MESSAGE_LIMIT
    assert round_.outcome.clients[0].stderr_tail.endswith("the end")


def order(clients: list[str]) -> Order:
    request = control.StartRoundRequest(
        round_id="r",
        kind=control.ROUND_KIND_TRAIN,
        participants=[control.Participant(client_id=client) for client in clients],
    )
    return Order.from_wire(request)


async def test_a_client_that_breaks_off_is_attached_no_more(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        hand.leave()
        await until(lambda: not laid.combiner.roster.attached())
        assert laid.combiner.roster.gone_since("a") is not None


async def test_a_stream_that_ends_before_it_begins_is_turned_away(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        stream = laid.hand("rude").stub.Attach()
        await stream.done_writing()
        with pytest.raises(BadInput, match="hello"):
            async with rpc_errors(unreachable=Conflict):
                await asyncio.wait_for(stream.read(), 10)


async def test_a_result_without_an_outcome_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two, three = await arrive(laid, "one", "two", "three")
        await laid.start("one", "two", "three", kind="VALIDATE")
        await one.task()
        assert (await one.submit("r1")).code == "output_invalid"
        update = pb.Update(model="0" * 64, base_model=laid.model, num_examples=1)
        assert (await two.submit("r1", update=update)).code == "output_invalid"
        measured = pb.Validation(base_model="0" * 64, num_examples=1)
        assert (await three.submit("r1", validation=measured)).code == "wrong_base"
        assert dict((await laid.outcome()).refused) == {"output_invalid": 2, "wrong_base": 1}


async def test_an_upload_beyond_the_combiners_limit_is_refused(tmp_path: Path) -> None:
    async with table(tmp_path, max_model_bytes=1024) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write({"w": np.zeros(1000, np.float32)}, "large")
        with pytest.raises(BadInput, match="the limit is 1024"):
            await hand.send(path, digest, "r1")


async def test_an_upload_after_the_client_has_failed_is_refused_with_the_code(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, _ = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await one.task()
        await one.submit("r1", failure=pb.Failure(code="task_timeout", reason="too slow"))
        with pytest.raises(BadInput, match="task_timeout"):
            await send(laid, one, 1.0)


async def test_a_mistake_in_a_phase_ends_the_round_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Journal, "begin", broken)
    async with table(tmp_path) as laid:
        await arrive(laid, "a")
        await laid.start("a")
        outcome = await laid.outcome()
        assert (outcome.code, outcome.reason) == ("internal", "RuntimeError: a mistake")
        assert [(c.client_id, c.status) for c in outcome.clients] == [("a", "missing")]


async def test_an_update_that_is_not_here_is_asked_for_and_not_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (one,) = await arrive(laid, "one")
        await laid.start("one")
        await one.task()
        path, digest = laid.write({"w": np.full(4, 1.0, np.float32)}, "update")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        with pytest.raises(NotFound):
            async with rpc_errors(unreachable=Unavailable):
                await one.submit("r1", update=update)
        await one.send(path, digest, "r1")
        assert (await one.submit("r1", update=update)).accepted
        assert dict((await laid.outcome()).refused) == {}


async def test_what_was_uploaded_for_a_round_is_kept_over_a_restart(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (one,) = await arrive(laid, "one")
        await laid.start("one")
        await one.task()
        update = await send(laid, one, 1.0)
    async with table(tmp_path) as laid:
        (one,) = await arrive(laid, "one")
        await laid.start("one")
        await one.task()
        assert (await one.submit("r1", update=update)).accepted


async def test_what_was_uploaded_for_a_round_is_kept_when_others_come(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, _ = await arrive(laid, "one", "two")
        await laid.start("one")
        await one.task()
        update = await send(laid, one, 1.0)
        await laid.start("one", "two", epoch=2)
        await one.task()
        assert (await one.submit("r1", update=update)).accepted


@pytest.mark.parametrize("told", [DiskFull("journal.db cannot grow"), OSError(errno.ENOSPC, "No space left on device")])
async def test_a_round_waits_for_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Exception
) -> None:
    opened = Journal.begin
    full = iter([told, told])

    def filled(journal: Journal, order: Order) -> bool:
        for error in full:
            raise error
        return opened(journal, order)

    monkeypatch.setattr(Journal, "begin", filled)
    async with table(tmp_path) as laid:
        [hand] = await arrive(laid, "a")
        await laid.start("a")
        assert (await hand.task()).round_id == "r1"


async def test_a_disk_that_stays_full_ends_the_round_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "begin", full)
    async with table(tmp_path) as laid:
        await arrive(laid, "a")
        await laid.start("a", timeout_s=0.3)
        outcome = await laid.outcome()
        assert (outcome.code, outcome.reason) == ("disk_full", "the combiner's disk is full: No space left on device")


async def test_uploads_that_were_cut_short_are_swept_when_the_next_round_begins(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        hand = laid.hand("a")
        await hand.attach()
        await laid.start("a")
        await hand.task()
        path, digest = laid.write({"w": np.ones(4, np.float32)})
        start = UploadStart(digest=digest, size=path.stat().st_size, round_id="r1", client_id="a")
        call = BlobsStub(hand.channel).Upload()
        await call.write(UploadRequest(start=start))
        await call.read()
        await call.write(UploadRequest(data=path.read_bytes()[:10]))
        part, folded = laid.combiner.shelf.part(digest), tmp_path / "combiner" / "scratch" / "r1.sum"
        folded.touch()  # as of a round that could not publish what it had folded
        await until(part.exists)
        await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=False))
        await laid.start("a", round_id="r2")
        await until(lambda: not part.exists() and not folded.exists())
        await call.write(UploadRequest(data=path.read_bytes()[10:]))
        await call.done_writing()
        with pytest.raises(TransferFailed, match="swept"):
            async with calling(call, unreachable=CombinerUnreachable):
                await call.read()
