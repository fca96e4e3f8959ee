"""A round at a real combiner over real sockets: what is accepted, what is refused, what ends the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.combiner.round import Order, Round
from fedn.errors import (
    CombinerDraining,
    Conflict,
    DigestMismatch,
    FednError,
    RoundClosed,
    SchemaMismatch,
    StaleTerm,
    UnknownRound,
)
from fedn.model.safetensors import digest_of, load_tensors, open_model
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import upload
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1.blobs_pb2 import UploadRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub
from test.unit.combiner_bench import Hand, Table, table, until

ZEROS = {"w": np.zeros(4, np.float32)}


def filled(value: float) -> dict[str, np.ndarray[Any, Any]]:
    return {"w": np.full(4, value, np.float32)}


async def arrive(laid: Table, *clients: str) -> list[Hand]:
    await laid.stage(ZEROS)
    hands = [laid.hand(client) for client in clients]
    for part, hand in enumerate(hands):
        await hand.attach(part=part)
    return hands


async def train(laid: Table, hand: Hand, value: float, examples: int = 1, round_id: str = "r1") -> pb.Receipt:
    """Take the task, upload a model filled with `value`, submit it."""
    await hand.task()
    path, digest = laid.write(filled(value), f"update-{hand.client_id}")
    await hand.send(path, digest, round_id)
    return await hand.submit(round_id, update=pb.Update(model=digest, base_model=laid.model, num_examples=examples))


async def mean_of(laid: Table, outcome: control.RoundOutcome) -> float:
    total = await laid.fetch(outcome.sum, outcome.sum_size)
    schema = open_model(laid.folder / "model").schema
    out = laid.folder / "mean"
    mean([open_sum(total, schema)], weight=outcome.weight, schema=schema, out=out)
    return float(load_tensors(out)["w"][0])


async def test_a_round_sums_its_updates_by_their_examples(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        hands = await arrive(laid, "a", "b")
        await laid.start("a", "b")
        assert (await train(laid, hands[0], 1.0, examples=1)).accepted
        assert (await train(laid, hands[1], 5.0, examples=3)).accepted
        outcome = await laid.outcome()
        assert outcome.weight == 4
        assert await mean_of(laid, outcome) == 4.0


async def test_an_outcome_tells_the_seconds_of_each_phase(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await train(laid, hand, 1.0)
        outcome = await laid.outcome()
        assert set(outcome.phase_s) == {"stage", "collect", "fold", "publish"}
        assert all(seconds >= 0 for seconds in outcome.phase_s.values())


async def test_who_works_is_told_in_a_report_and_not_each_second_to_the_reducer(tmp_path: Path) -> None:
    """It would send the names of a thousand clients again and again: what the reducer moves must not grow with them."""
    async with table(tmp_path) as laid:
        await arrive(laid, "a", "b")
        await laid.start("a", "b")
        await laid.hand("a").task()
        async for progress in laid.control.AwaitRound(control.AwaitRoundRequest(term=1, round_id="r1")):
            assert (progress.participants, list(progress.busy)) == (2, [])
            break
        report = await laid.control.Report(control.ReportRequest())
        assert list(report.rounds[0].progress.busy) == ["a", "b"]


def test_the_seconds_of_a_phase_are_from_its_beginning_to_the_next_ones() -> None:
    now = 0.0
    order = Order("r1", "s", 1, "train", 1, "m", 1, "p", 1, {}, 1.0, 0, "{}")
    round_ = Round(order, clock=lambda: now)
    for seconds, phase in ((1.0, "collect"), (10.0, "fold"), (100.0, "publish")):
        now += seconds
        round_.enter(phase)
    now += 1000.0
    round_.finish()
    assert round_.outcome is not None
    assert dict(round_.outcome.phase_s) == {"stage": 1.0, "collect": 10.0, "fold": 100.0, "publish": 1000.0}


async def test_a_validation_round_collects_metrics_and_has_no_model(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a", kind="VALIDATE")
        assert (await hand.task()).kind == pb.TASK_KIND_VALIDATE
        measured = pb.Validation(base_model=laid.model, num_examples=7, metrics={"accuracy": 0.5})
        assert (await hand.submit("r1", validation=measured)).accepted
        outcome = await laid.outcome()
        assert not outcome.sum
        assert outcome.clients[0].metrics["accuracy"] == 0.5


Change = Callable[[pb.Update], None]


def with_metric(value: float) -> Change:
    return lambda update: update.metrics.update({"loss": value})


REFUSALS: dict[str, tuple[dict[str, Any], Change, str]] = {
    "another name": ({"v": np.zeros(4, np.float32)}, lambda u: None, "schema_mismatch"),
    "another shape that would broadcast": ({"w": np.zeros((1, 4), np.float32)}, lambda u: None, "schema_mismatch"),
    "another dtype": ({"w": np.zeros(4, np.float64)}, lambda u: None, "schema_mismatch"),
    "NaN": ({"w": np.array([0, np.nan, 0, 0], np.float32)}, lambda u: None, "non_finite"),
    "Inf": ({"w": np.array([0, 0, -np.inf, 0], np.float32)}, lambda u: None, "non_finite"),
    "no examples": (ZEROS, lambda u: setattr(u, "num_examples", 0), "bad_num_examples"),
    "negative examples": (ZEROS, lambda u: setattr(u, "num_examples", -5), "bad_num_examples"),
    "another base": (ZEROS, lambda u: setattr(u, "base_model", "0" * 64), "wrong_base"),
    "a metric that is no number": (ZEROS, with_metric(float("nan")), "output_invalid"),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_bad_update_is_refused_and_counted_and_the_round_goes_on(tmp_path: Path, what: str) -> None:
    tensors, change, code = REFUSALS[what]
    async with table(tmp_path) as laid:
        good, bad = await arrive(laid, "good", "bad")
        await laid.start("good", "bad")
        await bad.task()
        path, digest = laid.write(tensors, "bad")
        await bad.send(path, digest, "r1")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        change(update)
        receipt = await bad.submit("r1", update=update)
        assert not receipt.accepted
        assert receipt.code == code
        assert (await train(laid, good, 3.0)).accepted
        outcome = await laid.outcome()
        assert dict(outcome.refused) == {code: 1}
        assert {c.client_id: c.code for c in outcome.clients} == {"bad": code, "good": ""}
        assert await mean_of(laid, outcome) == 3.0


async def test_a_file_that_is_no_model_is_refused_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path = tmp_path / "garbage"
        path.write_bytes(b"\x08\0\0\0\0\0\0\0not json")
        digest = digest_of(path)
        await hand.send(path, digest, "r1")
        receipt = await hand.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=1))
        assert receipt.code == "model_invalid"
        assert laid.combiner.shelf.find(digest) is None
        assert dict((await laid.outcome()).refused) == {"model_invalid": 1}


async def test_bytes_that_are_not_those_announced_are_not_stored(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write(filled(1.0), "bad")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(DigestMismatch):
            await hand.send(path, digest, "r1")
        assert laid.combiner.shelf.find(digest) is None


async def test_the_same_update_twice_is_one_and_another_one_is_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, other = await arrive(laid, "one", "other")
        await laid.start("one", "other")
        assert (await train(laid, one, 2.0)).accepted
        _, digest = laid.write(filled(2.0))
        again = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await one.submit("r1", update=again)).accepted
        _, second = laid.write(filled(9.0), "second")
        receipt = await one.submit("r1", update=pb.Update(model=second, base_model=laid.model, num_examples=1))
        assert receipt.code == "duplicate_update"
        assert (await train(laid, other, 4.0)).accepted
        outcome = await laid.outcome()
        assert outcome.weight == 2
        assert await mean_of(laid, outcome) == 3.0
        assert dict(outcome.refused) == {"duplicate_update": 1}


async def test_a_late_update_is_refused_and_not_folded(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        early, late = await arrive(laid, "early", "late")
        await laid.start("early", "late", timeout_s=1.5)
        await late.task()
        path, digest = laid.write(filled(100.0), "late")
        await late.send(path, digest, "r1")
        assert (await train(laid, early, 1.0)).accepted
        outcome = await laid.outcome()
        assert {c.client_id: c.status for c in outcome.clients} == {"early": "accepted", "late": "missing"}
        assert await mean_of(laid, outcome) == 1.0
        receipt = await late.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=1))
        assert receipt.code == "round_closed"
        assert (await late.command()).WhichOneof("command") == "cancel"


async def test_an_unknown_round_and_a_client_that_was_not_asked_are_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        asked, stranger = await arrive(laid, "asked", "stranger")
        await laid.start("asked")
        path, digest = laid.write(filled(1.0))
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await stranger.submit("r1", update=update)).code == "not_a_participant"
        assert (await asked.submit("r0", update=update)).code == "unknown_round"
        with pytest.raises(FednError) as caught:
            await stranger.send(path, digest, "r1")
        assert caught.value.code == "not_a_participant"


async def test_an_upload_far_larger_than_the_model_is_refused_before_its_bytes_travel(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write({"w": np.zeros(2**20, np.float32)}, "large")
        with pytest.raises(SchemaMismatch):
            await hand.send(path, digest, "r1")
        assert laid.combiner.shelf.find(digest) is None


async def test_a_failed_task_ends_the_wait_at_once(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        good, bad = await arrive(laid, "good", "bad")
        await laid.start("good", "bad", timeout_s=3600)
        await bad.task()
        failure = pb.Failure(code="entry_point_failed", reason="exit code 3", stderr_tail="Traceback …")
        assert (await bad.submit("r1", failure=failure)).accepted
        await train(laid, good, 1.0)
        outcome = await laid.outcome()
        line = next(c for c in outcome.clients if c.client_id == "bad")
        assert (line.status, line.code, line.stderr_tail) == ("failed", "entry_point_failed", "Traceback …")


async def test_a_client_that_goes_away_is_given_up_after_its_grace(tmp_path: Path) -> None:
    async with table(tmp_path, reconnect_grace_s=0.2) as laid:
        stays, leaves = await arrive(laid, "stays", "leaves")
        await laid.start("stays", "leaves", timeout_s=3600)
        await leaves.task()
        leaves.leave()
        await train(laid, stays, 1.0)
        outcome = await laid.outcome()
        assert {c.client_id: c.code for c in outcome.clients} == {"leaves": "client_lost", "stays": ""}


async def test_a_client_that_comes_back_gets_its_task_again_on_the_new_stream(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        first = await hand.task()
        hand.leave()
        await hand.attach()
        again = await hand.task()
        assert again.task_id == first.task_id
        path, digest = laid.write(filled(1.0))
        await hand.send(path, digest, "r1")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await hand.submit("r1", update=update)).accepted


async def test_a_new_stream_supersedes_the_old_and_takes_the_next_task(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        old = hand.stream
        await hand.attach()
        assert await asyncio.wait_for(old.read(), 10) is grpc.aio.EOF
        await laid.start("a")
        assert (await train(laid, hand, 1.0)).accepted


async def test_rounds_without_any_update_report_no_model(tmp_path: Path) -> None:
    async with table(tmp_path, reconnect_grace_s=0.1) as laid:
        await laid.stage(ZEROS)
        await laid.start("nobody")
        outcome = await laid.outcome()
        assert (outcome.sum, outcome.weight) == ("", 0)
        assert outcome.clients[0].code == "client_lost"


async def test_an_abort_ends_the_round_without_a_model(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, two = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        await train(laid, one, 1.0)
        await two.task()
        await laid.control.AbortRound(control.AbortRoundRequest(term=1, round_id="r1", reason="stopped by the user"))
        outcome = await laid.outcome()
        assert (outcome.code, outcome.reason, outcome.sum) == ("round_failed", "stopped by the user", "")
        assert (await two.command()).WhichOneof("command") == "cancel"


async def test_a_round_without_its_model_fails_with_a_reason(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        laid.model = "0" * 64
        await laid.start("a")
        assert (await laid.outcome()).code == "not_found"


async def test_accepted_updates_survive_a_restart_of_the_combiner(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (one, _) = await arrive(laid, "one", "two")
        await laid.start("one", "two")
        assert (await train(laid, one, 2.0, examples=3)).accepted
        staged = (laid.model, laid.model_size, laid.package)
    async with table(tmp_path) as laid:
        laid.model, laid.model_size, laid.package = staged
        two = laid.hand("two")
        await two.attach()
        await laid.start("one", "two")
        assert (await train(laid, two, 6.0, examples=1)).accepted
        outcome = await laid.outcome()
        assert outcome.weight == 4
        assert await mean_of(laid, outcome) == 3.0


async def test_starting_a_round_again_goes_on_with_it(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await laid.start("a")
        await train(laid, hand, 1.0)
        first = await laid.outcome()
        await laid.start("a")
        assert await laid.outcome() == first


async def test_a_lower_term_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        await laid.start("a", term=5)
        await until(lambda: laid.combiner.rounds.get("r1").phase == "collect")
        with pytest.raises(StaleTerm):
            async with rpc_errors(unreachable=Conflict):
                await laid.start("a", round_id="r2", term=4)
    async with table(tmp_path) as laid:
        with pytest.raises(StaleTerm):
            async with rpc_errors(unreachable=Conflict):
                await laid.control.EndRound(control.EndRoundRequest(term=4, round_id="r1"))


async def test_an_ended_round_is_forgotten_and_its_clients_are_told(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await train(laid, hand, 1.0)
        await laid.outcome()
        await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=True))
        ended = (await hand.command()).ended
        assert (ended.round_id, ended.committed) == ("r1", True)
        with pytest.raises(UnknownRound):
            async with rpc_errors(unreachable=Conflict):
                await laid.control.AwaitRound(control.AwaitRoundRequest(term=1, round_id="r1")).read()


async def test_blobs_that_no_round_needs_are_swept(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await train(laid, hand, 1.0)
        await laid.outcome()
        await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=True))
        path, laid.model = laid.write(filled(8.0), "next-model")
        await upload(laid.channel, path, digest=laid.model)
        await laid.start("a", round_id="r2")
        assert (await hand.command()).WhichOneof("command") == "ended"
        await hand.task()
        assert set(laid.combiner.shelf.digests()) == {laid.model, laid.package}


async def test_a_report_names_who_is_attached_and_what_runs(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        hands = await arrive(laid, "a", "b")
        await laid.start("a")
        await hands[0].task()
        report = await laid.control.Report(control.ReportRequest())
        assert {c.client_id: c.task for c in report.clients} == {"a": "train", "b": ""}
        assert [r.round_id for r in report.rounds] == ["r1"]
        assert list(report.rounds[0].progress.busy) == ["a"]


async def test_a_draining_combiner_takes_no_round_and_sends_its_clients_away(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.combiner.rounds.drain(0.0)
        laid.combiner.roster.send_away("the combiner is stopping")
        assert (await hand.command()).WhichOneof("command") == "drain"
        with pytest.raises(CombinerDraining):
            async with rpc_errors(unreachable=RoundClosed):
                await laid.start("a")


async def test_a_combiner_that_drains_waits_for_the_end_of_its_round(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        draining = asyncio.create_task(laid.combiner.rounds.drain(60))
        await until(lambda: laid.combiner.rounds.draining)
        with pytest.raises(CombinerDraining):
            async with rpc_errors(unreachable=RoundClosed):
                await laid.start("a", round_id="r2")
        assert (await train(laid, hand, 1.0)).accepted
        await laid.outcome()
        assert not draining.done()  # its sum is still to be fetched
        await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=True))
        async with asyncio.timeout(20):
            await draining


async def test_a_combiner_does_not_drain_for_ever_and_hands_its_round_back(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        async with asyncio.timeout(20):
            await laid.combiner.rounds.drain(0.01)
        assert (await laid.outcome()).code == "combiner_draining"
        laid.combiner.roster.send_away("stopping")
        assert (await hand.command()).WhichOneof("command") == "drain"  # nothing told it to stop working


async def test_a_stream_that_does_not_say_hello_is_turned_away(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        stream = laid.hand("rude").stub.Attach()
        await stream.write(pb.ClientEvent(heartbeat=pb.Heartbeat()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(stream.read(), 10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_silent_client_counts_as_gone(tmp_path: Path) -> None:
    async with table(tmp_path, heartbeat_s=0.1) as laid:
        hand = laid.hand("silent")
        welcome = await hand.attach()
        assert welcome.heartbeat_s == 0.1
        assert await asyncio.wait_for(hand.stream.read(), 10) is grpc.aio.EOF
        report = await laid.control.Report(control.ReportRequest())
        assert not report.clients


async def test_a_client_that_uploads_counts_as_alive_while_its_heartbeats_wait_behind_the_bytes(tmp_path: Path) -> None:
    async with table(tmp_path, heartbeat_s=0.1) as laid:
        [hand] = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write(filled(1))
        data = path.read_bytes()
        call = BlobsStub(hand.channel).Upload()
        start = UploadStart(digest=digest, size=len(data), round_id="r1", client_id="a")
        await call.write(UploadRequest(start=start))
        await call.read()
        for byte in range(8):  # more than twice the silence
            await call.write(UploadRequest(data=data[byte : byte + 1]))
            await asyncio.sleep(0.1)
        assert laid.combiner.roster.attached()
        call.cancel()
        await until(lambda: not laid.combiner.roster.attached())
