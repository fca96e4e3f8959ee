"""`/api/v1/predictions` and `fedn predict`: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedn.reducer.desk import Desk
from fedn.reducer.session_config import SessionConfig
from test.unit.api_bench import error, ready

PREDICTIONS = "/api/v1/predictions"


def without_predict(desk: Desk) -> None:
    package = desk.state.get("context", "package")
    assert package is not None
    desk.state.replace("context", package | {"entry_points": {"train": []}})


def test_without_seed_or_package_there_is_nothing_to_predict_with(client: Any, desk: Desk, tmp_path: Path) -> None:
    assert error(client.post(PREDICTIONS, json={}), 409)[0] == "seed_missing"
    ready(client, tmp_path)
    package = desk.state.get("context", "package")
    assert package is not None
    desk.state.delete("context", "package", version=package["_version"])
    assert error(client.post(PREDICTIONS, json={}), 409)[0] == "package_missing"


def test_a_package_that_cannot_predict_is_named(client: Any, desk: Desk, tmp_path: Path) -> None:
    ready(client, tmp_path)
    without_predict(desk)
    code, reason = error(client.post(PREDICTIONS, json={}), 409)
    assert (code, reason) == ("predict_missing", "the compute package 'puppet' has no entry point 'predict'")
    assert client.get(PREDICTIONS).json == {"predictions": []}


@pytest.mark.parametrize("body", [{"clients": "c0"}, {"what": 1}, {"settings": [1]}])
def test_what_is_asked_wrongly_is_refused(client: Any, body: Any, tmp_path: Path) -> None:
    ready(client, tmp_path)
    assert error(client.post(PREDICTIONS, json=body), 400)[0] == "config_invalid"


def test_a_model_that_is_not_in_the_trail_is_refused(client: Any, desk: Desk, tmp_path: Path) -> None:
    ready(client, tmp_path)
    package = desk.state.get("context", "package")
    assert package is not None
    assert error(client.post(PREDICTIONS, json={"model": package["digest"]}), 404)[0] == "not_found"


def test_beside_a_session_there_is_no_prediction(client: Any, desk: Desk, tmp_path: Path) -> None:
    ready(client, tmp_path)
    session = desk.sessions.create(SessionConfig())
    assert error(client.post(PREDICTIONS, json={}), 409) == ("session_running", f"session {session['_id']} is running")
    assert client.get(PREDICTIONS).json == {"predictions": []}


def test_a_session_that_begins_as_the_prediction_is_asked_for_ends_it(
    client: Any, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(client, tmp_path)
    create = type(desk.predictions).create

    def meanwhile(*given: Any, **more: Any) -> Any:
        made = create(*given, **more)
        desk.sessions.create(SessionConfig())
        return made

    monkeypatch.setattr(type(desk.predictions), "create", meanwhile)
    assert error(client.post(PREDICTIONS, json={}), 409)[0] == "session_running"
    (refused,) = client.get(PREDICTIONS).json["predictions"]
    assert (refused["status"], refused["code"]) == ("failed", "session_running")
    assert desk.predictions.active() is None


def test_a_prediction_is_listed_and_shown_and_a_second_one_refused(client: Any, desk: Desk, tmp_path: Path) -> None:
    ready(client, tmp_path)
    asked = client.post(PREDICTIONS, json={"clients": ["b", "a", "b"], "settings": {"k": 1}, "seed": 3})
    assert asked.status_code == 202
    made = asked.json["prediction"]
    assert error(client.post(PREDICTIONS, json={}), 409) == ("prediction_running", f"prediction {made} is running")
    (listed,) = client.get(PREDICTIONS).json["predictions"]
    assert (listed["id"], listed["status"], listed["asked"]) == (made, "waiting", ["a", "b"])
    assert (listed["model"], listed["config"]["settings"]) == (asked.json["model"], {"k": 1})
    for query in ("", "?data=false"):
        assert client.get(f"{PREDICTIONS}/{made}{query}").json == listed | {"clients": []}
    assert error(client.get(f"{PREDICTIONS}/{made}?data=maybe"), 400)[0] == "bad_input"
    assert error(client.get(f"{PREDICTIONS}/p-0"), 404)[0] == "not_found"
    desk.predictions.end(made, "failed", code="quorum_not_met", reason="none of them is connected")
    lines = client.get(f"{PREDICTIONS}/{made}").json["clients"]
    assert {(line["name"], line["status"], line["data"]) for line in lines} == {
        ("a", "missing", None),
        ("b", "missing", None),
    }
