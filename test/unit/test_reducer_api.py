"""Every route of the reducer: as JSON with its error form, and as a page for a browser."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from fedn.errors import BlobCorrupt, NoCombiner, Unavailable
from fedn.reducer.desk import Desk
from fedn.reducer.session_config import SessionConfig
from fedn.trail.file import MODELS
from fedn.trail.reader import verify_file
from test.unit.api_bench import BROWSER, error, model, package, ready, sha256
from test.unit.combiner_bench import table


def test_the_network(client: Any) -> None:
    for path in ("/", "/api/v1/network"):
        shown = client.get(path).json
        assert (shown["combiners"], shown["connected"], shown["seed"], shown["session"]) == ([], 0, None, None)


def test_health_and_readiness(client: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"status": "ready"}

    def locked(*_: object, **more: object) -> int:
        raise Unavailable("the store is locked")

    monkeypatch.setattr(desk.state, "find", locked)
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "unavailable"
    assert client.get("/health").status_code == 200


def test_a_combiner_announces_itself(client: Any) -> None:
    said = {"name": "north", "identity": "1", "address": "127.0.0.1:1"}
    for _ in range(2):
        answer = client.post("/add", json=said)
        assert (answer.status_code, answer.json) == (201, {"name": "north"})
    (combiner,) = client.get("/").json["combiners"]
    assert (combiner["name"], combiner["up"]) == ("north", False)
    assert client.post("/add", data=said).status_code == 201  # a form


@pytest.mark.parametrize(
    "sent",
    [
        {"name": "north", "identity": "1", "address": "nowhere"},
        {"name": "", "identity": "1", "address": "h:1"},
        {"name": None, "identity": "1", "address": "h:1"},
        {"name": "north", "identity": "1", "address": "h:1", "adress": "h:1"},
        ["north"],
        "north",
    ],
)
def test_an_odd_announcement_is_refused(client: Any, sent: Any) -> None:
    assert error(client.post("/add", json=sent), 400)[0] == "bad_input"


def test_a_client_without_a_combiner_has_no_seat(client: Any) -> None:
    asked = {"client_id": "id", "name": "c"}
    answer = client.get("/assign", query_string=asked)
    assert error(answer, 503) == (NoCombiner.code, "no combiner has announced itself yet")
    assert answer.headers["Retry-After"] == "1"
    assert error(client.get("/assign"), 400)[0] == "bad_input"


async def test_a_client_is_given_its_seat(app: Flask, tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        client: Any = app.test_client()
        said = {"name": "north", "identity": laid.combiner.identity, "address": laid.combiner.address}
        assert (await asyncio.to_thread(client.post, "/add", json=said)).status_code == 201
        asked = {"client_id": "id", "name": "c", "combiner": "north"}
        given = await asyncio.to_thread(client.get, "/assign", query_string=asked)
        assert given.json == {
            "client_id": "id",
            "name": "c",
            "part": 0,
            "combiner": "north",
            "address": laid.combiner.address,
            "spread_s": 1 / 200,
        }
        other = said | {"identity": "another"}
        assert error(await asyncio.to_thread(client.post, "/add", json=other), 409)[0] == "name_taken"
        wrong = asked | {"combiner": "zebra"}
        assert error(await asyncio.to_thread(client.get, "/assign", query_string=wrong), 404)[0] == "not_found"


def test_the_trail_is_exported_as_one_file(client: Any, desk: Desk, tmp_path: Path) -> None:
    assert error(client.get("/api/v1/trail/export"), 409)[0] == "seed_missing"
    assert error(client.get("/api/v1/trail/export?models=some"), 400)[0] == "bad_input"
    client.post("/seed", data=model(tmp_path))
    file = tmp_path / "trail.tar"
    for models in MODELS:
        answer = client.get("/api/v1/trail/export", query_string={"models": models})
        assert answer.status_code == 200
        assert int(answer.headers["Content-Length"]) == len(answer.data)
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="trail-1-')
        file.write_bytes(answer.data)
        assert verify_file(file).left_out == (models == "none")
    seed = sha256(model(tmp_path))
    (stored,) = desk.settings.dir.glob(f"blobs/*/{seed}")
    stored.write_bytes(b"x" * stored.stat().st_size)
    desk.tidy(set())  # else the copy that came with the upload is exported
    with client.get("/api/v1/trail/export") as answer, pytest.raises(BlobCorrupt, match=seed):
        answer.get_data()
    desk.blobs.delete(seed)
    code, reason = error(client.get("/api/v1/trail/export"), 500)
    assert code == "trail_broken"
    assert "record 0: its model" in reason


def test_what_a_session_can_be_asked(client: Any) -> None:
    shown = client.get("/start").json
    assert shown["running"] is None
    options = {option["name"]: option for option in shown["options"]}
    assert options["rounds"]["default"] == 10
    assert options["clients_required"]["min"] == 1


def test_a_session_needs_seed_and_package(client: Any, tmp_path: Path) -> None:
    assert error(client.post("/start", json={}), 409)[0] == "seed_missing"
    client.post("/seed", data=model(tmp_path))
    assert error(client.post("/start", json={}), 409)[0] == "package_missing"


def test_a_session_is_started_once_and_stopped(client: Any, tmp_path: Path) -> None:
    ready(client, tmp_path)
    started = client.post("/start", json={"rounds": 3, "validate": False})
    assert started.status_code == 202
    session = started.json["session"]
    assert (started.json["config"]["rounds"], started.json["config"]["validate"]) == (3, False)
    second = client.post("/api/v1/sessions", data={"rounds": "4"})
    assert error(second, 409)[0] == "session_running"
    assert second.json["error"]["detail"] == {"session": session}
    assert client.get("/start").json["running"] == session
    assert client.get("/").json["session"]["id"] == session
    stopped = client.post(f"/api/v1/sessions/{session}/stop")
    assert (stopped.status_code, stopped.json) == (202, {"session": session, "status": "waiting"})
    assert error(client.post("/api/v1/sessions/s-none/stop"), 404)[0] == "not_found"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"rouns": 3}, "did you mean 'rounds'"),
        ({"rounds": 0}, "not between 1 and"),
        ({"rounds": "three"}, "expected a whole number"),
        ({"clients_required": 3, "clients_requested": 2}, "fewer than clients_required"),
    ],
)
def test_an_odd_session_is_refused(client: Any, sent: dict[str, Any], words: str) -> None:
    code, reason = error(client.post("/start", json=sent), 400)
    assert code == "config_invalid"
    assert words in reason


def test_bodies_of_fields_have_a_limit(client: Any) -> None:
    huge = {"rounds": "3" * 2**20}
    assert error(client.post("/start", json=huge), 400)[0] == "bad_input"
    chunked = client.post("/start", data=b"{}", headers={"Transfer-Encoding": "chunked"})
    assert "say its length" in error(chunked, 400)[1]


def test_sessions_are_listed_and_shown(client: Any, desk: Desk) -> None:
    assert error(client.get("/plot"), 404)[0] == "not_found"
    first = desk.sessions.create(SessionConfig(rounds=1))["_id"]
    desk.sessions.end(first, "failed", code="quorum_not_met", reason="0 of 1")
    second = desk.sessions.create(SessionConfig(rounds=2))["_id"]
    for number, status in ((1, "failed"), (2, "started")):
        key = f"{second}.1.train.{number}"
        begun = {"round_id": key, "session": second, "round": 1, "kind": "train", "participants": []}
        desk.state.insert("rounds", {"_id": key, "started": float(number), "status": status} | begun)
    listed = client.get("/api/v1/sessions").json["sessions"]
    assert [(s["id"], s["status"]) for s in listed] == [(second, "waiting"), (first, "failed")]
    assert client.get("/plot").json["session"]["id"] == second
    assert client.get(f"/plot?session={first}").json["session"]["code"] == "quorum_not_met"
    assert client.get(f"/api/v1/sessions/{second}").json["rounds"][0]["status"] == "started"
    rounds = client.get(f"/api/v1/sessions/{second}/rounds/1").json["rounds"]
    assert [r["status"] for r in rounds] == ["failed", "started"]
    assert not any(key.startswith("_") for r in rounds for key in r)
    for path in ("/plot?session=s-none", "/api/v1/sessions/s-none", "/api/v1/sessions/s-none/rounds/1"):
        assert error(client.get(path), 404)[0] == "not_found"


def test_the_trail_and_its_blobs_are_read_only(client: Any, tmp_path: Path) -> None:
    content = model(tmp_path)
    client.post("/seed", data=content)
    for path in ("/trail", "/api/v1/trail"):
        (record,) = client.get(path).json["records"]
        assert record["model"] == sha256(content)
    for path in (f"/api/v1/models/{sha256(content)}", f"/api/v1/receipts/{sha256(content)}"):
        with client.get(path) as blob:
            assert blob.data == content
    assert error(client.get(f"/api/v1/models/{'0' * 64}"), 404)[0] == "not_found"
    assert error(client.get("/api/v1/models/..%2Fstate.db"), 404)
    assert error(client.get("/api/v1/models/latest"), 400)[0] == "bad_input"
    for method in (client.post, client.put, client.patch, client.delete):
        assert error(method("/api/v1/trail"), 405)[0] == "method_not_allowed"


def test_a_damaged_blob_is_named_and_never_served(client: Any, desk: Desk, tmp_path: Path) -> None:
    content, archive = model(tmp_path), package(tmp_path)
    client.post("/seed", data=content)
    client.post("/context", data=archive)
    desk.tidy(keep=set())
    for blob, path in ((content, f"/api/v1/models/{sha256(content)}"), (archive, "/context/archive")):
        stored = desk.settings.dir / "blobs" / sha256(blob)[:2] / sha256(blob)
        stored.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
        code, reason = error(client.get(path), 500)
        assert (code, sha256(blob) in reason) == ("blob_corrupt", True)
        stored.write_bytes(blob)
        with client.get(path) as answer:
            assert answer.data == blob
    assert list(desk.uploads.iterdir()) == []


def test_what_is_not_there_and_what_breaks_has_the_same_form(
    client: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error(client.get("/nowhere"), 404)[0] == "not_found"

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(type(desk.sessions), "all", broken)
    assert error(client.get("/api/v1/sessions"), 500)[0] == "internal"


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        (BROWSER["Accept"], True),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("image/png", False),
    ],
)
def test_pages_are_for_those_who_ask_for_them_first(client: Any, accept: str | None, page: bool) -> None:
    answer = client.get("/", headers={"Accept": accept} if accept else {})
    assert answer.mimetype == ("text/html" if page else "application/json")


@pytest.mark.parametrize("path", ["/", "/seed", "/context", "/start", "/plot", "/trail"])
@pytest.mark.parametrize("filled", [False, True])
def test_pages_have_a_title(client: Any, tmp_path: Path, path: str, filled: bool) -> None:
    if filled:
        ready(client, tmp_path)
        client.post("/start", json={})
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200
    assert "<title>" in answer.text


def test_errors_are_pages_for_a_browser(client: Any) -> None:
    for answer, status in (
        (client.get("/nowhere", headers=BROWSER), 404),
        (client.post("/start", data={}, headers=BROWSER), 409),
    ):
        assert answer.status_code == status
        assert "<title>" in answer.text


def test_forms_lead_a_browser_on(client: Any, tmp_path: Path) -> None:
    seed = {"seed": (io.BytesIO(model(tmp_path)), "seed.safetensors")}
    answer = client.post("/seed", data=seed, headers=BROWSER)
    assert (answer.status_code, answer.location) == (303, "/seed")
    answer = client.post("/context", data={"package": (io.BytesIO(package(tmp_path)), "p.tar")}, headers=BROWSER)
    assert (answer.status_code, answer.location) == (303, "/context")
    answer = client.post("/start", data={"rounds": "2", "seed": ""}, headers=BROWSER)
    session = client.get("/start").json["running"]
    assert (answer.status_code, answer.location) == (303, f"/plot?session={session}")
    config = client.get("/").json["session"]["config"]
    assert (config["rounds"], config["validate"]) == (2, False)  # an unticked box is not sent
    answer = client.post(f"/api/v1/sessions/{session}/stop", headers=BROWSER)
    assert (answer.status_code, answer.location) == (303, f"/plot?session={session}")


def test_without_the_newest_model_no_session_is_started_and_everyone_is_told(
    client: Any, desk: Desk, tmp_path: Path
) -> None:
    ready(client, tmp_path)
    seed = client.get("/").json["seed"]
    desk.blobs.delete(seed)
    answer = client.post("/start", json={})
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "model_missing")
    assert seed in answer.json["error"]["reason"]
    answer = client.get("/ready")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "model_missing")
    assert seed in client.get("/").json["trail"]["missing"]
    assert seed in client.get("/", headers=BROWSER).text
    assert client.get("/health").status_code == 200
    assert desk.sessions.all() == []
    assert client.post("/seed", data=model(tmp_path)).status_code == 201  # the same bytes are a restored backup
    assert client.get("/ready").json == {"status": "ready"}
    assert client.get("/").json["trail"]["missing"] is None
