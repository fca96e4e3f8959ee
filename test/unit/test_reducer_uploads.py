"""What is uploaded to the reducer: seed models, lineages, compute packages."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.reducer.app import create_app
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine
from fedn.reducer.session_config import SessionConfig
from fedn.trail.walk import verify
from test.unit.api_bench import BROWSER, LIMIT, error, model, package, ready, sha256

BAD_SEEDS: dict[str, tuple[Callable[[bytes], bytes], int, str]] = {
    "nothing": (lambda content: b"", 400, "bad_input"),
    "garbage": (lambda content: b"garbage", 400, "model_invalid"),
    "cut short": (lambda content: content[:-1], 400, "model_invalid"),
    "a header that is too large": (lambda content: (2**40).to_bytes(8, "little") + content[8:], 400, "model_invalid"),
    "too large": (lambda content: bytes(LIMIT + 1), 413, "model_too_large"),
}


def test_a_browsers_upload_needs_no_room_but_in_the_reducers_folder(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model(tmp_path, size=2**19)
    roomy = replace(desk, settings=replace(desk.settings, max_model_bytes=2 * len(content)))
    client = create_app(roomy, Engine(roomy)).test_client()
    head = b'--b\r\nContent-Disposition: form-data; name="seed"; filename="seed"\r\n\r\n'
    body = head + content + b"\r\n--b--\r\n"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))  # as a TMPDIR that cannot be written
    sent = client.post("/seed", data=body, content_type="multipart/form-data; boundary=b")
    assert sent.status_code == 201, sent.text
    assert sent.get_json()["model"] == sha256(content)
    assert list(desk.uploads.iterdir()) == []


def test_the_seed_is_planted_once(client: Any, desk: Desk, tmp_path: Path) -> None:
    assert error(client.get("/seed"), 409)[0] == "seed_missing"
    content = model(tmp_path)
    for _ in range(2):
        answer = client.post("/seed", data=content)
        assert answer.status_code == 201
        assert answer.json == {"model": sha256(content), "lineage": 1, "tensors": 1, "bytes": len(content)}
    assert client.get("/seed").json == {"model": sha256(content), "lineage": 1}
    before = set(desk.blobs.digests())
    for query in ({}, {"new_lineage": "false"}):
        again = client.post("/seed", data=model(tmp_path, value=1.0), query_string=query)
        assert error(again, 409)[0] == "seed_exists"
    assert set(desk.blobs.digests()) == before


def test_a_new_lineage_must_be_asked_for(client: Any, desk: Desk, tmp_path: Path) -> None:
    first, second = model(tmp_path), model(tmp_path, value=1.0)
    assert client.post("/seed", data=first).status_code == 201
    odd = client.post("/seed", data=second, query_string={"new_lineage": "perhaps"})
    assert error(odd, 400) == ("bad_input", "new_lineage is true or false, not 'perhaps'")
    for _ in range(2):  # a lost answer is simply asked for again
        answer = client.post("/seed", data=second, query_string={"new_lineage": "true"})
        assert answer.status_code == 201
        assert (answer.json["model"], answer.json["lineage"]) == (sha256(second), 2)
    assert client.get("/seed").json == {"model": sha256(second), "lineage": 2}
    assert client.get("/").json["seed"] == sha256(second)
    assert [r["model"] for r in client.get("/trail").json["records"]] == [sha256(first), sha256(second)]
    assert error(client.post("/seed", data=first), 409)[0] == "seed_exists"
    assert verify(desk.trail.records(), desk).lineages == 2


def test_a_form_that_ticks_the_box_begins_a_new_lineage(client: Any, tmp_path: Path) -> None:
    client.post("/seed", data=model(tmp_path))
    for ticked, status in (({}, 409), ({"new_lineage": "on"}, 303)):
        file = {"seed": (io.BytesIO(model(tmp_path, value=1.0)), "seed")}
        assert client.post("/seed", data=file | ticked, headers=BROWSER).status_code == status
    assert client.get("/seed").json["lineage"] == 2


def test_no_lineage_is_begun_while_a_session_runs(client: Any, desk: Desk, tmp_path: Path) -> None:
    ready(client, tmp_path)
    session = desk.sessions.create(SessionConfig())["_id"]
    other = model(tmp_path, value=1.0)
    answer = client.post("/seed", data=other, query_string={"new_lineage": "true"})
    assert error(answer, 409) == ("session_running", f"session {session} trains from the present lineage")
    assert answer.json["error"]["detail"] == {"session": session}
    assert desk.blobs.size(sha256(other)) is None
    assert len(desk.trail.records()) == 1


@pytest.mark.parametrize("what", BAD_SEEDS)
@pytest.mark.parametrize("as_form", [False, True])
def test_a_seed_that_is_none_leaves_nothing(client: Any, desk: Desk, tmp_path: Path, what: str, as_form: bool) -> None:
    change, status, code = BAD_SEEDS[what]
    sent = change(model(tmp_path))
    data: Any = {"seed": (io.BytesIO(sent), "seed")} if as_form else sent
    assert error(client.post("/seed", data=data), status)[0] == code
    assert list(desk.blobs.digests()) == []
    assert list(desk.uploads.iterdir()) == []
    assert not desk.trail.records()


def test_a_seed_whose_announced_size_is_too_large_is_not_read(client: Any) -> None:
    assert error(client.post("/seed", data=bytes(LIMIT + 2**20 + 1)), 413)[0] == "model_too_large"


def test_a_seed_without_numbers_is_refused(client: Any, tmp_path: Path) -> None:
    assert error(client.post("/seed", data=model(tmp_path, value=float("nan"))), 400)[0] == "non_finite"


def test_a_form_without_its_file_is_refused(client: Any) -> None:
    data = {"sed": (io.BytesIO(b"x"), "seed")}
    assert error(client.post("/seed", data=data), 400) == ("bad_input", "the form has no file 'seed'")


def test_the_compute_package_is_replaced_but_not_during_a_session(client: Any, desk: Desk, tmp_path: Path) -> None:
    assert error(client.get("/context"), 409)[0] == "package_missing"
    assert error(client.get("/context/archive"), 409)[0] == "package_missing"
    content = package(tmp_path)
    for _ in range(2):
        answer = client.post("/context", data=content)
        assert answer.status_code == 201
        assert answer.json["digest"] == sha256(content)
        assert answer.json["entry_points"]["train"] == ["python", "puppet.py", "train"]
    assert client.get("/context").json["package"] == answer.json
    with client.get("/context/archive") as archive:
        assert archive.data == content
    running = desk.sessions.create(SessionConfig())["_id"]
    code, reason = error(client.post("/context", data=content), 409)
    assert code == "session_running"
    assert running in reason


def test_a_package_that_is_none_leaves_nothing(client: Any, desk: Desk) -> None:
    assert error(client.post("/context", data=b"garbage"), 400)[0] == "package_invalid"
    for size in (LIMIT + 1, LIMIT + 2**20 + 1):
        code, reason = error(client.post("/context", data=bytes(size)), 413)
        assert code == "package_too_large"
        assert str(LIMIT) in reason
    assert list(desk.blobs.digests()) == []
    assert list(desk.uploads.iterdir()) == []
