"""A round at the reducer over real combiners: quorum, weights, crashes, and leaders that lost the lease."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.errors import (
    CombinerUnreachable,
    Conflict,
    FednError,
    QuorumNotMet,
    StaleTerm,
    UpdateRefused,
)
from fedn.model.safetensors import write_model
from fedn.reducer.answers import check_outcome, client_lines, phase_seconds, weighted_metrics
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.views import round_line
from fedn.trail.walk import verify
from fedn.wire.v1 import control_pb2 as control
from test.unit.reducer_bench import fails, hangs, learns, reducer, soon

AWAY_S = 0.3


async def test_unequal_combiners_are_weighted_by_their_clients(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(0.0))]
        clients += [await laid.client(f"c{k}", "b", learns(10.0)) for k in range(1, 10)]
        result = await soon(laid.round(laid.plan(*clients)).run())
        assert laid.value(result.model) == 9.0
        record = laid.desk.trail.latest()
        assert record is not None
        assert record["model"] == result.model
        assert {c["combiner"]: c["weight"] for c in record["combiners"]} == {"a": 1, "b": 9}
        assert verify(laid.desk.trail.records(), laid.desk).records == 2


async def test_a_lineage_that_was_begun_meanwhile_fails_the_round_with_this_reason(tmp_path: Path) -> None:
    """It is refused while a session runs, but a session may have begun at that very moment."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        plan = laid.plan(await laid.client("c0", "a", learns(2.0)))
        other = write_model(tmp_path / "other", {"w": np.ones(4, np.float32)})
        laid.desk.blobs.put(tmp_path / "other", other)
        laid.desk.trail.begin_lineage(other, time=1.0)
        with pytest.raises(Conflict, match="lineage 2 was begun"):
            await soon(laid.round(plan).run())
        assert (laid.document()["status"], laid.document()["code"]) == ("failed", "conflict")
        assert verify(laid.desk.trail.records(), laid.desk).lineages == 2


async def test_a_round_document_tells_the_seconds_of_its_phases(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))]
        await soon(laid.round(laid.plan(*clients)).run())
        document = laid.document()
        assert set(document["phases"]) == {"stage", "collect", "fold", "publish", "reduce", "commit"}
        assert 0 < document["phases"]["collect"] <= document["seconds"]
        validation = {"kind": "validate", "round": 1, "seconds": 7.0, "metrics": {}}
        assert round_line(document, validation)["phases"] == document["phases"] | {"validate": 7.0}


def test_a_phase_takes_as_long_as_at_the_slowest_combiner() -> None:
    outcomes = {
        k: control.RoundOutcome(phase_s=v) for k, v in (("a", {"fold": 1.0}), ("b", {"fold": 2.0, "stage": 3.0}))
    }
    assert phase_seconds(outcomes) == {"fold": 2.0, "stage": 3.0}


async def test_the_quorum_is_counted_over_all_combiners(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))]
        result = await soon(laid.round(laid.plan(*clients, clients_required=2)).run())
        assert laid.value(result.model) == 3.0


async def test_below_the_quorum_there_is_no_model_and_the_reasons_are_named(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", fails)]
        with pytest.raises(QuorumNotMet, match=r"1 of 2 .*1 × entry_point_failed"):
            await soon(laid.round(laid.plan(*clients, clients_required=2)).run())
        document = laid.document()
        assert (document["status"], document["code"]) == ("failed", "quorum_not_met")
        assert [line["stderr_tail"] for line in document["clients"]] == ["", "Traceback …"]
        assert len(laid.desk.trail.records()) == 1
        assert not laid.combiners["a"].rounds.known()


async def test_a_combiner_that_stays_away_is_left_out_and_its_clients_are_missing(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays, leaves = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))
        await laid.kill("b")
        result = await soon(laid.round(laid.plan(stays, leaves), give_up_s=AWAY_S).run())
        assert laid.value(result.model) == 2.0
        lines = {line["client_id"]: (line["status"], line["code"]) for line in laid.document()["clients"]}
        assert lines == {"c0": ("accepted", ""), "c1": ("missing", "combiner_unreachable")}


async def test_updates_survive_a_combiner_that_comes_back_at_another_port(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        accepted, late = await laid.client("c0", "a", learns(2.0, examples=3)), await laid.client("c1", "a", hangs)
        before = laid.combiners["a"].port
        round_ = asyncio.create_task(laid.round(laid.plan(accepted, late)).run())
        await soon(late.given.wait())
        await soon(accepts(laid.combiners["a"], 1))
        await laid.kill("a")
        with socket.create_server(("127.0.0.1", before)):  # somebody else has the port now
            await laid.combiner("a")
            await laid.client("c1", "a", learns(6.0))
            result = await soon(round_)
        assert laid.value(result.model) == 3.0
        assert len(accepted.tasks) == 1


async def accepts(combiner: Any, count: int) -> None:
    """Until a combiner has accepted so many answers in its one round."""
    (round_,) = combiner.rounds.known()
    while len(round_.accepted()) < count:
        await round_.changed.next()


async def test_a_long_quiet_round_does_not_use_up_the_patience_with_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedn.combiner.control.PROGRESS_S", 600.0)
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        round_ = asyncio.create_task(laid.round(laid.plan(client), give_up_s=2.0).run())
        await soon(client.given.wait())
        clock = asyncio.get_running_loop().time
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock() + 100.0)
        await laid.kill("a")
        await laid.combiner("a")
        await laid.client("c0", "a", learns(5.0))
        assert laid.value((await soon(round_)).model) == 5.0


async def test_another_combiner_at_the_address_is_not_taken_for_the_one_that_was_asked(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))]
        laid.announce("b", laid.combiners["b"].identity, laid.combiners["a"].address)
        result = await soon(laid.round(laid.plan(*clients), give_up_s=AWAY_S).run())
        assert laid.value(result.model) == 2.0
        assert "is combiner 'a', not 'b'" in laid.document()["clients"][1]["reason"]


async def test_what_a_combiner_accepted_does_not_count_when_its_fold_fails(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        broken, other = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "a", hangs)
        good = await laid.client("c2", "b", learns(4.0))
        round_ = asyncio.create_task(laid.round(laid.plan(broken, other, good)).run())
        await soon(other.given.wait())
        combiner = laid.combiners["a"]
        await soon(accepts(combiner, 1))
        (answer,) = combiner.rounds.known()[0].accepted()
        combiner.shelf.delete(answer.update)
        await fails(other, other.tasks[0])
        result = await soon(round_)
        assert laid.value(result.model) == 4.0
        assert [line["code"] for line in laid.document()["clients"]] == ["blob_corrupt", "entry_point_failed", ""]
        assert verify(laid.desk.trail.records(), laid.desk).records == 2


async def test_a_draining_combiner_is_left_out(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(4.0))]
        laid.combiners["b"].rounds.draining = True
        result = await soon(laid.round(laid.plan(*clients), give_up_s=AWAY_S).run())
        assert laid.value(result.model) == 2.0
        assert laid.document()["clients"][1]["code"] == "combiner_draining"


async def test_a_leader_that_combiners_have_seen_replaced_stops_and_writes_nothing(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", hangs), await laid.client("c1", "b", learns(4.0))]
        await laid.combiners["b"].rounds.fence(2)
        with pytest.raises(StaleTerm):
            await soon(laid.round(laid.plan(*clients)).run())
        assert laid.document()["status"] == "started"
        assert len(laid.desk.trail.records()) == 1
        others = [task for task in asyncio.all_tasks() if "RoundRun._part" in repr(task)]
        await soon(asyncio.gather(*others, return_exceptions=True))  # the one at the other combiner ends too


async def test_metrics_are_weighted_by_examples(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [
            await laid.client("c0", "a", learns(0.0, examples=1, accuracy=0.0)),
            await laid.client("c1", "b", learns(0.0, examples=3, accuracy=1.0)),
            await laid.client("c2", "b", fails),
        ]
        result = await soon(laid.round(laid.plan(*clients, kind="validate", round_id="s.0.validate.1")).run())
        assert (result.metrics, result.num_examples) == ({"accuracy": 0.75}, 4)
        assert laid.document("s.0.validate.1")["metrics"] == {"accuracy": 0.75}
        assert len(laid.desk.trail.records()) == 1


async def test_an_aborted_round_fails_with_the_reason(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        round_ = laid.round(laid.plan(client))
        running = asyncio.create_task(round_.run())
        await soon(client.given.wait())
        await round_.abort("stopped by the user")
        with pytest.raises(QuorumNotMet, match="stopped by the user"):
            await soon(running)


async def test_a_model_that_the_reducer_lost_fails_the_round_with_its_reason(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", learns(1.0))
        plan = laid.plan(client)
        laid.desk.blobs.delete(plan.model)
        with pytest.raises(FednError, match="no blob"):
            await soon(laid.round(plan).run())
        assert laid.document()["code"] == "not_found"


async def test_the_receipt_lists_what_was_folded(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        clients = [await laid.client("c0", "a", learns(1.0, examples=2)), await laid.client("c1", "a", fails)]
        await soon(laid.round(laid.plan(*clients)).run())
        record = laid.desk.trail.latest()
        assert record is not None
        receipt = json.loads(laid.desk.check_receipt(record["receipt"]))
        assert receipt["round_id"] == "s.1.train.1"
        assert [(u["client"], u["combiner"], u["num_examples"]) for u in receipt["updates"]] == [("c0", "a", 2)]


def outcome(*clients: control.ClientOutcome, weight: int = 0, **more: Any) -> control.RoundOutcome:
    return control.RoundOutcome(clients=clients, weight=weight, **more)


def accepted(client_id: str, examples: int = 1) -> control.ClientOutcome:
    return control.ClientOutcome(client_id=client_id, status="accepted", num_examples=examples, update="u")


@pytest.mark.parametrize(
    "wrong",
    [
        outcome(accepted("stranger"), weight=1, sum="x"),
        outcome(accepted("own"), accepted("own"), weight=2, sum="x"),
        outcome(accepted("own", 3), weight=2, sum="x"),
        outcome(accepted("own", 3), weight=3),
        outcome(weight=0, sum="x"),
    ],
)
def test_an_outcome_that_does_not_add_up_is_refused(wrong: control.RoundOutcome) -> None:
    with pytest.raises(UpdateRefused):
        check_outcome(wrong, {"own"}, kind="train")


def test_an_outcome_of_ones_own_clients_is_taken() -> None:
    check_outcome(outcome(accepted("own", 3), weight=3, sum="x"), {"own", "other"}, kind="train")
    check_outcome(outcome(accepted("own", 3)), {"own"}, kind="validate")
    check_outcome(outcome(accepted("own", 3), code="blob_corrupt"), {"own"}, kind="train")


def test_a_client_of_whom_its_combiner_says_nothing_is_missing() -> None:
    client = ConnectedClient("id", "name", 0, "a")
    (line,) = client_lines([client], {"a": control.RoundOutcome()})
    assert (line["status"], line["code"]) == ("missing", "client_lost")
    (line,) = client_lines([client], {"a": control.RoundOutcome(code="combiner_unreachable", reason="away")})
    assert (line["code"], line["reason"]) == (CombinerUnreachable.code, "away")


def test_a_metric_that_some_do_not_report_is_weighted_over_those_who_do() -> None:
    lines = [
        {"status": "accepted", "num_examples": 1, "metrics": {"a": 1.0}},
        {"status": "accepted", "num_examples": 3, "metrics": {"a": 0.0, "b": 2.0}},
        {"status": "failed", "num_examples": 9, "metrics": {"a": 9.0}},
    ]
    assert weighted_metrics(lines) == ({"a": 0.25, "b": 2.0}, 4)


async def test_a_combiner_that_says_nothing_any_more_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedn.combiner.control.PROGRESS_S", 600.0)
    monkeypatch.setattr("fedn.reducer.combiner_link.SILENCE_S", 0.1)
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        with pytest.raises(QuorumNotMet, match="said nothing for"):
            await soon(laid.round(laid.plan(client), give_up_s=0.0).run())
