"""Clients predict, over real processes: asked by a command, with per-client settings, and with all that goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

from test.system.network import Network, complained, until


def test_the_clients_predict_with_the_newest_model_and_failures_have_names(net: Network, tmp_path: Path) -> None:
    net.finished(net.start(rounds=2, validate=False))
    parts = net.parts()
    out = tmp_path / "predictions.json"
    done = net.fedn("predict", "-o", out, "--settings", json.dumps({"predict": {str(parts["c1"]): "exit"}}))
    assert done.returncode == 0, done.stderr
    assert "2 of 3 clients predicted" in done.stdout
    assert done.stderr.startswith("c1: ")
    assert "ended with exit code 1: the puppet cannot predict [entry_point_failed]" in done.stderr
    assert "the puppet cannot predict" in done.stderr
    found = json.loads(out.read_text())
    assert {line["name"]: line["data"] for line in found["clients"]} == {
        "c0": {"part": parts["c0"], "steps": 2, "times": 1},
        "c1": None,
        "c2": {"part": parts["c2"], "steps": 2, "times": 1},
    }
    assert net.get("/api/v1/predictions")["predictions"][0]["id"] == found["id"]
    assert net.get(f"/api/v1/predictions/{found['id']}") == found
    assert "trail verified" in net.fedn("trail", "verify").stdout


def test_only_the_named_clients_predict_with_the_model_that_is_meant(net: Network) -> None:
    seed = net.get("/api/v1/trail")["records"][0]["model"]
    done = net.fedn("predict", "--model", seed[:12], "--clients", "c2", "--clients", "nobody")
    assert done.returncode == 0, done.stderr
    name, _, data = done.stdout.strip().partition(": ")
    assert (name, json.loads(data)["steps"]) == ("c2", 0)
    assert "nobody: it was not connected when the prediction began [client_lost]" in done.stderr


def test_what_is_no_json_and_what_is_too_large_are_told_and_nobody_answering_is_a_failure(net: Network) -> None:
    parts = net.parts()
    moves = {str(parts["c0"]): "garbage", str(parts["c1"]): "large", str(parts["c2"]): "exit"}
    done = net.fedn("predict", "--settings", json.dumps({"predict": moves}))
    assert done.returncode == 6, done.stderr
    assert "c0: the predictions are not JSON" in done.stderr
    assert "c1: the predictions have 1048580 bytes; the limit is 1048576 [output_invalid]" in done.stderr
    assert "[quorum_not_met]" in done.stderr


def test_beside_a_session_there_is_no_prediction_and_the_session_goes_on(net: Network) -> None:
    session = net.start(rounds=1, validate=False, settings=net.moves(c0="wait"))
    until(lambda: net.session(session)["live"], "the round runs")
    assert session in complained(net.fedn("predict"), code="session_running", exit_code=4)
    (net.folder / "go").touch()
    assert net.finished(session)["rounds"][0]["updates"] == 3


def test_single_clients_get_settings_of_their_own(net: Network) -> None:
    moves = net.moves(c1="exit")
    own = json.dumps({"c1": moves, "c9": moves})
    started = net.fedn("session", "start", "--rounds", "1", "--no-validate", "--client-settings", own, "--json")
    session = json.loads(started.stdout)["session"]
    net.finished(session)
    assert {name: line["code"] for name, line in net.clients_of(session, 1).items()} == {
        "c0": "",
        "c1": "entry_point_failed",
        "c2": "",
    }
    status = net.fedn("session", "status", session)
    assert "be aware that client_settings name 'c9', and no client has had this name" in status.stdout
