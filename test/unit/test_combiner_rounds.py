"""A round at a real combiner over real sockets: what is accepted, what is refused, what ends the wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fedn.combiner.round import Order, Round
from fedn.errors import (
    CombinerDraining,
    CombinerUnreachable,
    Conflict,
    RoundClosed,
    StaleTerm,
    Unavailable,
    UnknownRound,
)
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import upload
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from test.unit.combiner_bench import ZEROS, arrive, filled, mean_of, table, train, until


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


async def test_a_round_without_its_model_is_not_begun_and_what_is_missing_is_said(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        here, laid.model = laid.model, "0" * 64
        assert list((await laid.start("a")).missing) == ["0" * 64]
        assert laid.combiner.rounds.known() == []
        laid.model = here
        assert list((await laid.start("a")).missing) == []


async def test_an_order_for_another_combiner_is_refused(tmp_path: Path) -> None:
    """I2: its updates would count twice where another has taken over the address."""
    async with table(tmp_path) as laid:
        await laid.stage(ZEROS)
        with pytest.raises(CombinerUnreachable, match="not 'another'"):
            async with rpc_errors(unreachable=Unavailable):
                await laid.control.StartRound(control.StartRoundRequest(term=1, combiner="another"))


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
