"""Sessions, seeds and the trail, over REST and from the command line, against a running network."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fedn.model.safetensors import digest_of, load_tensors, write_model
from test.system.network import Network, command, complained, network, until


def error_of(answered: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answered.json()["error"]
    return error


def test_a_session_needs_a_seed_and_a_package(fresh: Network, tmp_path: Path) -> None:
    fresh.reducer()
    fresh.ready()
    answered = fresh.post("/start")
    assert (answered.status_code, error_of(answered)["code"]) == (409, "seed_missing")
    seed = tmp_path / "model"
    write_model(seed, {"w": np.zeros(2, np.float32)})
    assert fresh.send("/seed", seed.read_bytes()).status_code == 201
    answered = fresh.post("/start")
    assert (answered.status_code, error_of(answered)["code"]) == (409, "package_missing")
    assert complained(fresh.fedn("session", "start"), code="package_missing", exit_code=4)
    assert fresh.get("/api/v1/sessions")["sessions"] == []
    complained(fresh.fedn("session", "status"), code="not_found", exit_code=3)
    complained(fresh.fedn("session", "stop"), code="not_found", exit_code=3)


def test_every_worker_refuses_a_second_session_and_names_the_first(net: Network) -> None:
    session = net.start(rounds=1, settings=net.moves(c0="wait"))
    for _ in range(20):  # each connection may reach the other worker
        answered = httpx.post(f"{net.address}/start", json={}, verify=False)
        error = error_of(answered)
        assert (answered.status_code, error["code"], error["detail"]) == (409, "session_running", {"session": session})
        assert session in error["reason"]
    assert session in complained(net.fedn("session", "start"), code="session_running", exit_code=4)
    (net.folder / "go").touch()
    net.finished(session)


def test_a_session_waits_for_its_clients_and_goes_on_when_one_joins(net: Network) -> None:
    session = net.start(rounds=1, clients_required=4)
    waiting = until(lambda: (s := net.session(session))["reason"].startswith("3 of 4") and s, "it says who is missing")
    assert waiting["status"] == "waiting"
    assert "3 of 4" in net.fedn("session", "status").stdout
    late = net.client("late")
    try:
        assert net.finished(session)["rounds"][0]["updates"] == 4
    finally:
        late.stop()
        net.connected(3)


def test_a_session_that_waits_in_vain_ends_by_its_wait_timeout(net: Network) -> None:
    ended = net.ended(net.start(rounds=1, clients_required=9, wait_timeout=0.3))
    assert (ended["status"], ended["code"]) == ("failed", "quorum_not_met")
    assert "3 of 9" in ended["reason"]
    assert "wait_timeout" in ended["reason"]


def test_a_session_stops_in_the_middle_of_a_round_and_another_can_start(net: Network) -> None:
    session = net.start(rounds=5, settings=net.moves(c0="wait", c1="hang"))
    until(lambda: len(net.runs()) == 3, "all train")
    pids = [run["pid"] for run in net.runs()]
    assert net.fedn("session", "stop").returncode == 0
    ended = net.ended(session)
    assert (ended["status"], ended["code"]) == ("stopped", "stopped")
    until(lambda: not set(pids) & set(net.left()), "the training scripts are gone")
    again = net.finished(net.start(rounds=1))
    assert again["rounds"][0]["updates"] == 3
    said = net.fedn("session", "stop", session)
    assert said.returncode == 0
    assert "stopped" in said.stdout  # what it is, not that it is asked to


def test_a_session_that_waits_can_be_stopped(net: Network) -> None:
    session = net.start(rounds=1, clients_required=9)
    until(lambda: net.session(session)["status"] == "waiting", "it waits")
    net.post(f"/api/v1/sessions/{session}/stop")
    assert net.ended(session)["status"] == "stopped"


def test_a_session_goes_on_from_the_newest_model_of_the_trail(net: Network) -> None:
    first = net.finished(net.start(rounds=1))
    second = net.finished(net.start(rounds=1))
    records = {r["session"]: r for r in net.get("/api/v1/trail")["records"]}
    assert records[second["id"]]["parent"] == first["rounds"][-1]["model"]


def test_the_quorum_and_the_choice_are_over_all_clients(net: Network) -> None:
    session = net.finished(net.start(rounds=3, clients_requested=2, clients_required=2, validate=False))
    assert [line["participants"] for line in session["rounds"]] == [2, 2, 2]
    again = net.finished(net.start(rounds=3, clients_requested=2, clients_required=2, validate=False))
    for number in (1, 2, 3):
        assert net.clients_of(session["id"], number).keys() == net.clients_of(again["id"], number).keys()


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"rouns": 3}, "config_invalid", "did you mean 'rounds'"),
        ({"rounds": 0}, "config_invalid", "between 1 and"),
        ({"rounds": "many"}, "config_invalid", "expected a whole number"),
        ({"round_timeout": "NaN"}, "config_invalid", "round_timeout"),
        ({"clients_required": 3, "clients_requested": 2}, "config_invalid", "fewer than clients_required"),
        ({"settings": [1]}, "config_invalid", "expected a JSON object"),
        ({"settings": {"x": float("nan")}}, "bad_input", "nan"),
    ],
)
def test_a_wrong_start_is_refused_with_a_sentence(net: Network, given: dict[str, Any], code: str, said: str) -> None:
    content = json.dumps(given)
    answered = net.send("/start", content, kind="application/json")
    assert (answered.status_code, error_of(answered)["code"]) == (400, code)
    assert said in error_of(answered)["reason"]


@pytest.mark.parametrize("body", [b"[1]", b"{", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(net: Network, body: bytes) -> None:
    answered = net.send("/start", body, kind="application/json")
    assert (answered.status_code, error_of(answered)["code"]) == (400, "bad_input")


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/sessions/s-0", "/api/v1/models/" + "0" * 64])
def test_what_is_not_there_is_not_found(net: Network, path: str) -> None:
    answered = net.http.get(f"{net.address}{path}")
    assert (answered.status_code, error_of(answered)["code"]) == (404, "not_found")


def header(entries: dict[str, Any], *, length: int | None = None, data: bytes = b"\0" * 16) -> bytes:
    """A safetensors file, right or wrong."""
    text = json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, *, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BAD_SEEDS = {
    "nothing": b"",
    "garbage": b"PK\x03\x04 this is an archive of something else",
    "shorter than announced": header({"w": entry(0, 8)}, data=b"\0" * 7),
    "longer than announced": header({"w": entry(0, 8)}, data=b"\0" * 9),
    "a header beyond the file": header({"w": entry(0, 8)}, length=2**20),
    "a header too large": header({"w": entry(0, 8)}, length=2**62),
    "overlapping offsets": header({"v": entry(0, 8), "w": entry(4, 12)}, data=b"\0" * 12),
    "a hole": header({"v": entry(0, 8), "w": entry(12, 20)}, data=b"\0" * 20),
    "offsets that run backwards": header({"w": entry(8, 0)}),
    "a shape of another size": header({"w": entry(0, 16)}),
    "an unknown dtype": header({"w": entry(0, 8, dtype="PICKLE")}, data=b"\0" * 8),
    "a negative shape": header({"w": entry(0, 8, shape=(-2,))}, data=b"\0" * 8),
    "no tensor": header({}, data=b""),
    "NaN": header({"w": entry(0, 8)}, data=b"\xff" * 8),
}


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def seedless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("seedless")) as made:
        made.reducer("--max-model-bytes", 2**16, "--max-package-bytes", 2**16)
        made.ready()
        yield made


@pytest.mark.parametrize("what", BAD_SEEDS)
def test_a_bad_seed_is_refused_and_nothing_is_stored(seedless: Network, what: str) -> None:
    answered = seedless.send("/seed", BAD_SEEDS[what])
    assert answered.status_code == 400, answered.text
    assert error_of(answered)["code"] in ("model_invalid", "bad_input", "non_finite")
    assert error_of(answered)["reason"]
    assert not files_of(seedless.folder / "reducer" / "blobs")
    assert not files_of(seedless.folder / "reducer" / "uploads")
    assert seedless.http.get(f"{seedless.address}/seed").json()["error"]["code"] == "seed_missing"


@pytest.mark.parametrize(
    ("path", "status", "code"), [("/seed", 413, "model_too_large"), ("/context", 413, "package_too_large")]
)
def test_what_is_too_large_is_refused_and_nothing_is_stored(
    seedless: Network, path: str, status: int, code: str
) -> None:
    for size in (2**16 + 1, 2**26):
        answered = seedless.send(path, b"\0" * size)
        assert (answered.status_code, error_of(answered)["code"]) == (status, code)
        assert str(2**16) in error_of(answered)["reason"]
    assert not files_of(seedless.folder / "reducer" / "blobs")
    assert not files_of(seedless.folder / "reducer" / "uploads")


def test_a_bad_package_is_refused_and_nothing_is_stored(seedless: Network) -> None:
    answered = seedless.send("/context", b"no archive")
    assert (answered.status_code, error_of(answered)["code"]) == (400, "package_invalid")
    assert not files_of(seedless.folder / "reducer" / "blobs")
    assert not files_of(seedless.folder / "reducer" / "uploads")


def test_the_same_seed_again_is_fine_and_another_is_refused(net: Network, tmp_path: Path) -> None:
    same, other = net.folder / "seed.safetensors", tmp_path / "other"
    assert net.send("/seed", same.read_bytes()).status_code == 201
    write_model(other, {"w": np.ones(8, np.float32)})
    blobs = files_of(net.folder / "reducer" / "blobs")
    answered = net.send("/seed", other.read_bytes())
    assert (answered.status_code, error_of(answered)["code"]) == (409, "seed_exists")
    assert files_of(net.folder / "reducer" / "blobs") == blobs
    assert net.get("/seed")["model"] == digest_of(same)


def test_a_package_cannot_be_replaced_while_a_session_runs(net: Network) -> None:
    session = net.start(rounds=1, settings=net.moves(c0="wait"))
    package = (net.folder / "package.tar").read_bytes()
    answered = net.send("/context", package)
    assert (answered.status_code, error_of(answered)["code"]) == (409, "session_running")
    (net.folder / "go").touch()
    net.finished(session)
    assert net.send("/context", package).status_code == 201


def test_the_commands_show_a_session_and_its_models(net: Network, tmp_path: Path) -> None:
    started = net.fedn("session", "start", "--rounds", 2, "--seed", 3, "--json")
    assert started.returncode == 0, started.stderr
    session = json.loads(started.stdout)["session"]
    final = net.finished(session)["rounds"][-1]["model"]
    shown = json.loads(net.fedn("session", "status", session, "--json").stdout)
    assert (shown["id"], shown["status"], len(shown["rounds"])) == (session, "finished", 2)
    assert json.loads(net.fedn("session", "list", "--json").stdout)[0]["id"] == session
    assert session in net.fedn("session", "list").stdout
    trail = json.loads(net.fedn("trail", "list", "--json").stdout)
    assert [r["seq"] for r in trail] == list(range(len(trail)))
    assert final[:16] in net.fedn("trail", "list").stdout
    verified = json.loads(net.fedn("trail", "verify", "--json").stdout)
    assert (verified["verified"], verified["records"]) == (True, len(trail))
    for given in (final, final[:12], "latest"):
        model = tmp_path / f"{given}.safetensors"
        pulled = net.fedn("model", "pull", given, "-o", model, "--json")
        assert json.loads(pulled.stdout)["model"] == final
        assert digest_of(model) == final
    assert load_tensors(model)["steps"].dtype == np.int64


def test_the_commands_say_what_is_wrong(net: Network, tmp_path: Path) -> None:
    complained(net.fedn("session", "status", "s-none"), code="not_found", exit_code=3)
    complained(net.fedn("session", "stop", "s-none"), code="not_found", exit_code=3)
    complained(net.fedn("session", "start", "--rounds", 0), code="config_invalid", exit_code=2)
    complained(net.fedn("session", "start", "--settings", "{"), code="bad_input", exit_code=2)
    complained(net.fedn("model", "pull", "f" * 64, "-o", tmp_path / "m"), code="not_found", exit_code=3)
    away = tmp_path / "away" / "model"
    assert str(away.parent) in complained(
        net.fedn("model", "pull", "latest", "-o", away), code="folder_unusable", exit_code=2
    )


@pytest.mark.parametrize("what", ["session list", "session start", "trail verify", "model pull latest -o m"])
def test_a_command_that_cannot_reach_the_reducer_says_so(what: str, tmp_path: Path) -> None:
    done = command(*what.split(), "--reducer", "http://127.0.0.1:9", cwd=tmp_path)
    assert "http://127.0.0.1:9" in complained(done, code="reducer_unreachable", exit_code=5)
    assert not list(tmp_path.iterdir())


def blob_of(net: Network, digest: str) -> Path:
    return next(path for path in files_of(net.folder / "reducer" / "blobs") if path.name == digest)


def change(path: Path, content: bytes) -> None:
    if path.exists():
        path.chmod(0o644)
    path.write_bytes(content)


def test_verify_names_a_blob_that_was_changed(net: Network) -> None:
    net.finished(net.start(rounds=2, validate=False))
    *_, before, last = net.get("/api/v1/trail")["records"]
    for record, kind in ((before, "model"), (last, "receipt")):
        blob = blob_of(net, record[kind])
        content = blob.read_bytes()
        change(blob, content[:-1] + bytes([content[-1] ^ 1]))
        said = complained(net.fedn("trail", "verify"), code="trail_broken", exit_code=8)
        assert f"record {record['seq']}" in said
        assert f"its {kind} {record[kind][:12]}" in said
        blob.unlink()
        assert f"record {record['seq']}" in complained(net.fedn("trail", "verify"), code="trail_broken", exit_code=8)
        change(blob, content)
    assert net.fedn("trail", "verify").returncode == 0


def test_verify_names_a_record_that_was_changed(net: Network) -> None:
    net.finished(net.start(rounds=2, validate=False))
    *_, before, last = net.get("/api/v1/trail")["records"]
    store = sqlite3.connect(net.folder / "reducer" / "state.db")
    sql = "UPDATE trail SET document = replace(document, ?, ?) WHERE json_extract(document, '$.seq') = ?"
    try:
        for old, new, said in (
            (before["model"], last["model"], "its content does not match its hash"),
            (before["hash"], "0" * 64, "its content does not match its hash"),
        ):
            with store:
                store.execute(sql, (old, new, before["seq"]))
            sentence = complained(net.fedn("trail", "verify"), code="trail_broken", exit_code=8)
            assert f"record {before['seq']}: {said}" in sentence
            with store:
                store.execute(sql, (new, old, before["seq"]))
    finally:
        store.close()
    assert net.fedn("trail", "verify").returncode == 0


def test_no_route_changes_the_trail(net: Network) -> None:
    for path in ("/trail", "/api/v1/trail", "/seed", f"/api/v1/models/{'0' * 64}"):
        for method in ("PUT", "PATCH", "DELETE"):
            answered = net.http.request(method, f"{net.address}{path}")
            assert (answered.status_code, error_of(answered)["code"]) == (405, "method_not_allowed")
