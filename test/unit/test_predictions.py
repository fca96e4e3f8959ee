"""Predictions the whole way: what counts as one, the combiner's intake, the leader, and the routes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.errors import (
    BadInput,
    ConfigInvalid,
    NotFound,
    OutputInvalid,
    PredictionRunning,
    SessionRunning,
    Unavailable,
)
from fedn.model.predictions import MAX_BYTES, check_predictions
from fedn.reducer.prediction_blobs import predictions_path
from fedn.reducer.prediction_views import client_views, whole
from fedn.reducer.predictions import Asked
from fedn.reducer.session_config import SessionConfig
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from test.unit.client_bench import bench
from test.unit.combiner_bench import Table, table, until
from test.unit.reducer_bench import Reducer, fails, hangs, predicts, reducer, soon
from test.unit.test_reducer_sessions import create, ended, leading

GOOD = b'{"answer": [1, 2.5, null]}'
DEEP = b"[" * 101 + b"]" * 101
WRONG = {
    "no JSON": (b"{'a': 1}", "not JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a finite number"),
    "infinite": (b"[-1e400]", "-1e400 is not a finite number"),
    "number": (b"1", "neither a JSON object nor a list"),
    "empty": (b"", "not JSON"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not JSON"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    "deep": (DEEP, "nested deeper than 100"),
    "very deep": (b"[" * 200_000 + b"]" * 200_000, "not JSON"),
    "large": (b'["' + b"x" * MAX_BYTES + b'"]', f"the limit is {MAX_BYTES}"),
}


def asked(**given: Any) -> Asked:
    return Asked.parse({"seed": 7, "round_timeout": 20.0} | given)


def ask(laid: Reducer, **given: Any) -> str:
    latest = laid.desk.trail.latest()
    assert latest is not None
    made = laid.desk.predictions.create(asked(**given), model=latest["model"], package=laid.package)
    return str(made["_id"])


async def over(laid: Reducer, prediction: str) -> dict[str, Any]:
    """The prediction once it has ended."""
    await until(lambda: laid.desk.predictions.get(prediction)["ended"])
    return laid.desk.predictions.get(prediction)


def answer(laid: Reducer, prediction: str) -> Any:
    """As the route gives it."""
    document = laid.desk.predictions.get(prediction)
    return json.loads(b"".join(whole(laid.desk, document, client_views(laid.desk, document))))


# ── what is a prediction ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [GOOD, b"[]", b"{}", DEEP[1:-1], b'["' + b"x" * (MAX_BYTES - 4) + b'"]'])
def test_an_object_or_a_list_of_at_most_a_mebibyte_is_taken(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    assert check_predictions(tmp_path / "p") == len(content)


@pytest.mark.parametrize("which", WRONG)
def test_what_is_no_prediction_is_named(which: str, tmp_path: Path) -> None:
    content, said = WRONG[which]
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(OutputInvalid) as caught:
        check_predictions(tmp_path / "p")
    assert said in caught.value.reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"modell": "latest"}, "did you mean 'model'"),
        ({"model": 7}, "model: expected an id"),
        ({"clients": "c0"}, "clients: expected a list of names"),
        ({"clients": []}, "clients: expected a list of names"),
        ({"clients": ["c 0"]}, "clients: expected a list of names"),
        ({"settings": "[]"}, "settings: expected a JSON object"),
        ({"round_timeout": 0}, "round_timeout: 0.0 is not between"),
        ({"rounds": 3}, "unknown key 'rounds'"),
    ],
)
def test_what_is_asked_wrongly_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Asked.parse(given)
    assert said in caught.value.reason


# ── the client ────────────────────────────────────────────────────────────────────────────────────


async def predicted(laid: Table, settings: str, round_id: str) -> Any:
    await laid.start("c0", round_id=round_id, kind="PREDICT", settings=settings)
    (line,) = (await laid.outcome(round_id)).clients
    return line


async def test_a_client_predicts_and_its_json_lies_at_the_combiner_as_it_was_written(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
        set_up.live()
        await set_up.attached()
        line = await predicted(laid, set_up.settings(), "r1")
        assert (line.status, line.size, line.update) == ("accepted", len(GOOD), hashlib.sha256(GOOD).hexdigest())
        assert (await laid.fetch(line.update, line.size)).read_bytes() == GOOD
        assert [run["kind"] for run in set_up.runs] == ["predict"]


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"move": "exit"}, "entry_point_failed", "exit code 3"),
        ({"move": "silent"}, "output_missing", "wrote no predictions.json"),
        ({"move": "folder"}, "output_invalid", "not a file"),
        ({"predictions": "7"}, "output_invalid", "neither a JSON object nor a list"),
        ({"predictions": '["' + "x" * MAX_BYTES + '"]'}, "output_invalid", f"the limit is {MAX_BYTES}"),
    ],
    ids=["exit", "silent", "folder", "number", "large"],
)
async def test_a_prediction_that_fails_is_reported_with_its_code(
    settings: dict[str, str], code: str, said: str, tmp_path: Path
) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
        set_up.live()
        await set_up.attached()
        line = await predicted(laid, json.dumps(json.loads(set_up.settings()) | settings), "r1")
        assert (line.status, line.code) == ("failed", code)
        assert said in line.reason


# ── the combiner ──────────────────────────────────────────────────────────────────────────────────


async def test_what_is_no_prediction_is_refused_by_the_combiner_and_not_kept(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.zeros(4, np.float32)})
        hand = laid.hand("c0")
        await hand.attach()
        await laid.start("c0", kind="PREDICT")
        task = await hand.task()
        assert (task.kind, task.round_id) == (pb.TASK_KIND_PREDICT, "r1")
        path, digest = tmp_path / "bad", hashlib.sha256(b"{").hexdigest()
        path.write_bytes(b"{")
        await hand.send(path, digest, "r1")
        receipt = await hand.submit("r1", prediction=pb.Prediction(predictions=digest, base_model=laid.model))
        assert (receipt.accepted, receipt.code) == (False, "output_invalid")
        (line,) = (await laid.outcome()).clients
        assert (line.status, line.code, line.update) == ("failed", "output_invalid", "")
        assert digest not in set(laid.combiner.shelf.digests())


async def test_more_than_the_limit_is_refused_before_it_travels(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.zeros(4, np.float32)})
        hand = laid.hand("c0")
        await hand.attach()
        await laid.start("c0", kind="PREDICT")
        await hand.task()
        path, content = tmp_path / "large", b"x" * (MAX_BYTES + 1)
        path.write_bytes(content)
        with pytest.raises(OutputInvalid, match="the limit is"):
            await hand.send(path, hashlib.sha256(content).hexdigest(), "r1")


@pytest.mark.parametrize("kind", ["TRAIN", "VALIDATE"])
async def test_a_prediction_in_another_kind_of_round_is_refused(kind: str, tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.zeros(4, np.float32)})
        hand = laid.hand("c0")
        await hand.attach()
        await laid.start("c0", kind=kind)
        await hand.task()
        receipt = await hand.submit("r1", prediction=pb.Prediction(predictions="0" * 64, base_model=laid.model))
        assert (receipt.accepted, receipt.code) == (False, "wrong_base")


async def test_an_accepted_prediction_survives_the_combiner_and_counts_once(tmp_path: Path) -> None:
    """I1, I2: sent again because the receipt was lost, and after a restart, it is the same one."""
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.zeros(4, np.float32)})
        hand = laid.hand("c0")
        await hand.attach()
        await laid.start("c0", "c1", kind="PREDICT")
        await hand.task()
        path, digest = tmp_path / "p", hashlib.sha256(GOOD).hexdigest()
        path.write_bytes(GOOD)
        await hand.send(path, digest, "r1")
        for _ in range(2):
            receipt = await hand.submit("r1", prediction=pb.Prediction(predictions=digest, base_model=laid.model))
            assert receipt.accepted
        model, size, package = laid.model, laid.model_size, laid.package
    async with table(tmp_path) as laid:
        laid.model, laid.model_size, laid.package = model, size, package
        await laid.start("c0", "c1", kind="PREDICT", timeout_s=0.2)
        lines = {line.client_id: line for line in (await laid.outcome()).clients}
        assert (lines["c0"].status, lines["c0"].update, lines["c0"].size) == ("accepted", digest, len(GOOD))
        assert lines["c1"].status == "missing"


# ── the reducer ───────────────────────────────────────────────────────────────────────────────────


async def test_the_leader_gathers_what_the_clients_wrote(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        await laid.client("c0", "a", predicts(GOOD))
        await laid.client("c1", "b", predicts(GOOD))  # the same bytes under two combiners at once
        await laid.client("c2", "b", predicts(b' [1e300, "\xc3\xa9"]\n'))
        await laid.client("c3", "a", fails)
        prediction = ask(laid, settings={"k": 1})
        async with leading(laid):
            assert (await over(laid, prediction))["status"] == "finished"
        found = answer(laid, prediction)
        assert {line["name"]: (line["status"], line["code"], line["data"]) for line in found["clients"]} == {
            "c0": ("accepted", "", json.loads(GOOD)),
            "c1": ("accepted", "", json.loads(GOOD)),
            "c2": ("accepted", "", [1e300, "é"]),
            "c3": ("failed", "entry_point_failed", None),
        }
        assert found["clients"][3]["stderr_tail"] == "Traceback …"
        assert len(laid.desk.trail.records()) == 1
        assert not [path for path in laid.desk.scratch.iterdir() if prediction in path.name]
        assert not any(combiner.rounds.known() for combiner in laid.combiners.values())


async def test_only_those_who_are_named_are_asked_and_the_absent_are_told(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        one, other = await laid.client("c0", "a", predicts(GOOD)), await laid.client("c1", "a", predicts(GOOD))
        prediction = ask(laid, clients=["c1", "nobody"])
        async with leading(laid):
            await over(laid, prediction)
        lines = {line["name"]: (line["status"], line["code"]) for line in answer(laid, prediction)["clients"]}
        assert lines == {"c1": ("accepted", ""), "nobody": ("missing", "client_lost")}
        assert (len(one.tasks), len(other.tasks)) == (0, 1)


async def test_a_prediction_without_any_answer_has_failed_and_says_why(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        async with leading(laid):
            nobody = await over(laid, ask(laid))
            assert (nobody["status"], nobody["reason"]) == ("failed", "no client is connected")
            await laid.client("c0", "a", fails)
            failed = await over(laid, ask(laid))
        assert (failed["status"], failed["code"]) == ("failed", "quorum_not_met")
        assert "c0: exit code 3" in failed["reason"]


async def test_clients_that_hang_cost_no_more_than_the_rounds_timeout(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", predicts(GOOD))
        await laid.client("c1", "a", hangs)
        prediction = ask(laid, round_timeout=0.5)
        async with leading(laid):
            assert (await over(laid, prediction))["status"] == "finished"
        assert [line["status"] for line in answer(laid, prediction)["clients"]] == ["accepted", "missing"]


async def test_there_is_one_prediction_at_a_time_and_a_session_waits_for_it(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        prediction = ask(laid, round_timeout=1.0)
        with pytest.raises(PredictionRunning, match=prediction):
            ask(laid)
        session = create(laid, rounds=1, attempts=1, round_timeout=0.5)
        async with leading(laid):
            await until(lambda: laid.desk.sessions.get(session)["reason"] == f"prediction {prediction} runs first")
            await over(laid, prediction)
            await ended(laid, session)
        assert [task.round_id for task in client.tasks] == [f"{prediction}.0.predict.1", f"{session}.1.train.1"]


async def test_the_next_leader_goes_on_with_a_prediction(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        hand_over = asyncio.Event()

        async def late(client: Any, task: pb.RunTask) -> None:
            await hand_over.wait()
            await predicts(GOOD)(client, task)

        client = await laid.client("c0", "a", late)
        prediction = ask(laid)
        async with leading(laid):
            await soon(client.given.wait())
        hand_over.set()
        async with leading(laid, term=2):
            assert (await over(laid, prediction))["status"] == "finished"
        assert len(client.tasks) == 1
        assert answer(laid, prediction)["clients"][0]["data"] == json.loads(GOOD)


async def test_a_prediction_whose_round_had_ended_is_not_run_again(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", predicts(GOOD))
        prediction = ask(laid)
        laid.desk.predictions.begin(prediction, 1)
        round_id = f"{prediction}.0.predict.1"
        laid.desk.state.insert(
            "rounds",
            {"_id": round_id, "round_id": round_id, "status": "failed", "code": "store_away", "reason": "away"},
        )
        async with leading(laid):
            found = await over(laid, prediction)
        assert (found["status"], found["code"], found["reason"]) == ("failed", "store_away", "away")
        assert client.tasks == []


async def test_a_refused_prediction_is_not_taken_up(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", predicts(GOOD))
        prediction = ask(laid)
        assert laid.desk.predictions.refuse(prediction, SessionRunning("session s is running"))
        assert not laid.desk.predictions.begin(prediction, 1)
        async with leading(laid):
            await over(laid, ask(laid))
        assert len(client.tasks) == 1
        taken = ask(laid)
        assert laid.desk.predictions.begin(taken, 1)
        assert not laid.desk.predictions.refuse(taken, SessionRunning("session s is running"))


async def test_predictions_whose_blob_is_gone_are_a_trouble_of_one_client(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", predicts(GOOD))
        await laid.client("c1", "a", predicts(b"[]"))
        prediction = ask(laid)
        async with leading(laid):
            await over(laid, prediction)
        laid.desk.blobs.delete(hashlib.sha256(GOOD).hexdigest())
        lost, kept = answer(laid, prediction)["clients"]
        assert (lost["data"], lost["error"]["code"]) == (None, NotFound.code)
        assert (kept["data"], "error" in kept) == ([], False)


async def test_a_blob_store_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", predicts(GOOD))
        put, tries = laid.desk.blobs.put, 0

        def away_once(path: Path, digest: str) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise Unavailable("the blob store does not answer")
            put(path, digest)

        monkeypatch.setattr(laid.desk.blobs, "put", away_once)
        prediction = ask(laid)
        async with leading(laid):
            assert (await over(laid, prediction))["status"] == "finished"
        assert (tries, answer(laid, prediction)["clients"][0]["data"]) == (2, json.loads(GOOD))


@pytest.mark.parametrize(
    "claimed",
    [
        control.ClientOutcome(update="0" * 64, size=MAX_BYTES + 1),
        control.ClientOutcome(update="../../etc/passwd", size=1),
        control.ClientOutcome(update="", size=1),
    ],
)
async def test_what_a_combiner_must_not_have_accepted_is_not_fetched(
    claimed: control.ClientOutcome, tmp_path: Path
) -> None:
    """I7: neither more bytes than allowed nor a name outside the folder."""
    async with reducer(tmp_path) as laid:
        with pytest.raises((OutputInvalid, BadInput)):
            predictions_path(laid.desk, "p-1.0.predict.1", "a", claimed)


async def test_a_session_that_begins_at_the_same_moment_goes_first_or_second_but_not_beside(tmp_path: Path) -> None:
    """The driver looks for the session first: a prediction that was asked for before it is then seen as well."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", predicts(GOOD))
        find, session = laid.desk.sessions.active, ""

        def between() -> Any:
            nonlocal session
            found = find()
            if not session and found is None:
                ask(laid)
                session = laid.desk.sessions.create(SessionConfig(rounds=1, round_timeout=0.5, attempts=1))["_id"]
            return found

        laid.desk.sessions.active = between  # type: ignore[method-assign]
        async with leading(laid):
            await until(lambda: session and laid.desk.sessions.get(session)["ended"])
        assert [task.kind for task in client.tasks] == [pb.TASK_KIND_PREDICT, pb.TASK_KIND_TRAIN]
