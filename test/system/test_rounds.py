"""What clients do wrong in a round, and how a user learns of it."""

from __future__ import annotations

import pytest

from test.system.network import Network, until

# move of a client → its code, words of the reason, words of the stderr tail, whether an update was refused
FAILURES = {
    "exit": ("entry_point_failed", "exit code 3", "the puppet fell over", False),
    "silent": ("output_missing", "wrote no", "", False),
    "garbage": ("output_invalid", "not a model", "", False),
    "names": ("schema_mismatch", "'w' is missing", "", True),
    "shapes": ("schema_mismatch", "shape", "", True),
    "dtypes": ("schema_mismatch", "'w'", "", True),
    "nan": ("non_finite", "'w'", "", True),
    "no examples": ("bad_num_examples", "no num_examples", "", True),
    "zero examples": ("bad_num_examples", "num_examples must be", "", True),
    "many examples": ("bad_num_examples", "num_examples must be an integer", "", True),
    "kill": ("entry_point_killed", "SIGKILL, twice", "", False),
}


@pytest.mark.parametrize("move", FAILURES)
def test_a_failure_is_recorded_and_the_round_and_the_client_go_on(net: Network, move: str) -> None:
    code, reason, tail, refused = FAILURES[move]
    session = net.start(rounds=2, validate=False, settings=net.moves(c1=f"{move}@1"))
    first, second = net.finished(session)["rounds"]
    lines = net.clients_of(session, 1)
    assert {name: line["status"] for name, line in lines.items()} == {
        "c0": "accepted",
        "c1": "failed",
        "c2": "accepted",
    }
    assert lines["c1"]["code"] == code
    assert reason in lines["c1"]["reason"]
    assert tail in lines["c1"]["stderr_tail"]
    assert net.round(session, 1)["refused"] == ({code: 1} if refused else {})
    assert (first["updates"], second["updates"]) == (2, 3)
    assert [failure["code"] for failure in first["failures"]] == [code]


def test_a_failure_is_known_while_the_others_still_train(net: Network) -> None:
    session = net.start(rounds=1, validate=False, settings=net.moves(c0="wait", c1="exit", c2="wait"))
    live = until(lambda: (seen := net.session(session)["live"]) and seen["failed"] and seen, "one has failed")
    assert (live["answered"], live["failed"], live["busy"]) == (0, 1, ["c0", "c2"])
    assert "the puppet fell over" in net.roles["c1"].text
    (net.folder / "go").touch()
    assert net.finished(session)["rounds"][0]["updates"] == 2


def test_a_training_that_hangs_is_stopped_and_reported_within_the_round(net: Network) -> None:
    session = net.start(rounds=2, validate=False, round_timeout=6, settings=net.moves(c1="hang@1"))
    first, second = net.finished(session)["rounds"]
    line = net.clients_of(session, 1)["c1"]
    assert (line["status"], line["code"]) == ("failed", "task_timeout")
    assert "the puppet sleeps" in line["stderr_tail"]
    assert (first["updates"], second["updates"]) == (2, 3)


def test_a_training_that_a_signal_killed_is_run_again_with_the_same_seed(net: Network) -> None:
    session = net.start(rounds=1, validate=False, settings=net.moves(c1="kill once"))
    assert net.finished(session)["rounds"][0]["updates"] == 3
    part = net.parts()["c1"]
    first, second = [run for run in net.runs() if run["part"] == part]
    assert first["seed"] == second["seed"]
    assert first["pid"] != second["pid"]


def test_a_round_below_the_quorum_is_tried_again_and_then_fails_the_session(net: Network) -> None:
    session = net.start(rounds=2, clients_required=3, attempts=2, settings=net.moves(c1="exit"))
    ended = net.ended(session)
    assert (ended["status"], ended["code"]) == ("failed", "quorum_not_met")
    assert "2 of 3" in ended["reason"]
    assert "entry_point_failed" in ended["reason"]
    assert [r["status"] for r in net.get(f"/api/v1/sessions/{session}/rounds/1")["rounds"]] == ["failed", "failed"]
    assert "the puppet fell over" in ended["rounds"][0]["failures"][0]["stderr_tail"]
    assert not any(record["session"] == session for record in net.get("/api/v1/trail")["records"])


def test_a_round_that_every_client_fails_has_no_model(net: Network) -> None:
    session = net.start(rounds=1, attempts=1, settings=net.moves(c0="exit", c1="garbage", c2="nan"))
    ended = net.ended(session)
    assert (ended["status"], ended["code"]) == ("failed", "quorum_not_met")
    assert "0 of 1" in ended["reason"]
    for code in ("entry_point_failed", "output_invalid", "non_finite"):
        assert code in ended["reason"]


def test_a_validation_that_fails_is_recorded_and_costs_no_round(net: Network) -> None:
    settings = net.moves() | {"validate": {str(net.parts()["c1"]): "exit"}}
    session = net.start(rounds=2, settings=settings)
    for line in net.finished(session)["rounds"]:
        assert (line["status"], line["updates"]) == ("committed", 3)
        assert line["accuracy"] is not None
        assert [(f["name"], f["code"]) for f in line["failures"]] == [("c1", "entry_point_failed")]
        assert "the puppet cannot measure" in line["failures"][0]["stderr_tail"]
