"""Networks whose stores are servers: killed and started again mid-round, or not there at the start.

A fault must not show in the result: the models are those of the embedded stores with the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from test.contract.mongo_doubles import refusing
from test.stores import Nx27017, Rclone, running
from test.system.network import PUPPET, Network, command, complained, network, until


@pytest.fixture
def state_server(tmp_path: Path) -> Iterator[Nx27017]:
    with running(Nx27017(tmp_path / "nx-27017")) as server:
        yield server


@pytest.fixture
def blob_server(tmp_path: Path) -> Iterator[Rclone]:
    with running(Rclone(tmp_path / "rclone")) as server:
        yield server


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The models of a session over the embedded stores."""
    with network(tmp_path_factory.mktemp("embedded")) as net:
        net.up(clients=2)
        return models(net.finished(net.start(rounds=3)))


def models(session: dict[str, Any]) -> list[str]:
    return [r["model"] for r in session["rounds"]]


def away(net: Network, words: str) -> None:
    """Readiness and every route that needs the store say that it is away; the process itself is well."""
    until(lambda: net.http.get(f"{net.address}/ready").status_code == 503, "it is not ready")
    error = net.http.get(f"{net.address}/ready").json()["error"]
    assert (error["code"], words in error["reason"]) == ("unavailable", True), error
    assert net.http.get(f"{net.address}/health").json() == {"status": "ok"}
    for path in ("/", "/seed", "/api/v1/trail", "/api/v1/sessions"):
        refused = net.http.get(f"{net.address}{path}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), path


def trains_while(
    net: Network, leaves: Callable[[], None], comes_back: Callable[[], None], expected: list[str], words: str
) -> None:
    """A session of three rounds; in the first, the store is away while the clients send their updates (I1, I3, I5)."""
    net.up(clients=2, workers=2)
    session = net.start(rounds=3, settings=net.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(list(net.folder.glob("waits-*"))) == 2, "both clients train")
    leaves()
    away(net, words)
    (net.folder / "go").touch()
    for name in ("c0", "c1"):
        net.roles[name].says(": update after")
    net.roles["reducer"].says("waiting: ")
    comes_back()
    net.ready()
    ended = net.finished(session)
    assert models(ended) == expected
    assert [(r["updates"], r["failures"]) for r in ended["rounds"]] == [(2, [])] * 3
    assert net.fedn("trail", "verify").returncode == 0
    assert "Traceback" not in net.roles["reducer"].text


def test_a_state_store_that_is_killed_mid_round_costs_nothing(
    fresh: Network, state_server: Nx27017, expected: list[str]
) -> None:
    fresh.stores = ["--state", state_server.url()]
    trains_while(fresh, state_server.kill, state_server.start, expected, f"127.0.0.1:{state_server.port}")


def test_a_reducer_waits_for_a_state_store_that_is_not_there_yet(
    fresh: Network, tmp_path: Path, expected: list[str]
) -> None:
    server = Nx27017(tmp_path / "nx-27017")
    fresh.stores = ["--state", server.url()]
    try:
        reducer = fresh.reducer()
        reducer.says(f"waiting: the state store at 127.0.0.1:{server.port} does not answer: Connection refused")
        away(fresh, "Connection refused")
        fresh.combiner().says("Connection refused")
        server.start()
        fresh.ready()
        fresh.plant()
        until(lambda: [c["up"] for c in fresh.get("/")["combiners"]] == [True], "the combiner is up")
        for name in ("c0", "c1"):
            fresh.client(name)
        fresh.connected(2)
        assert models(fresh.finished(fresh.start(rounds=3))) == expected
        assert reducer.text.count("waiting: ") == 1
        reducer.stop()
    finally:
        server.kill()


def test_a_sandbox_gives_the_same_model_whatever_its_state_store(tmp_path: Path, state_server: Nx27017) -> None:
    size = ("--combiners", 2, "--clients", 3, "--rounds", 2, "--seed", 5)
    url, found = state_server.url(), []
    for name, where in (("embedded", []), ("nx-27017", ["--state", url])):
        out = tmp_path / f"{name}.json"
        done = command("sandbox", PUPPET, *size, *where, "--json", out)
        assert done.returncode == 0, done.stderr
        result = json.loads(out.read_text())
        assert result["trail_verified"]
        found.append((result["final_model_id"], [r["model_id"] for r in result["rounds"]]))
    assert found[0] == found[1]
    again = command("sandbox", PUPPET, *size, "--state", url)  # the blobs went with the first sandbox
    assert found[1][0] in complained(again, code="model_missing", exit_code=4)


def test_an_address_with_credentials_is_refused_and_they_are_not_shown() -> None:
    done = command("sandbox", PUPPET, "--state", "mongodb://me:secret@127.0.0.1:1/fedn")
    assert done.returncode == 2
    assert "without credentials" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_a_sandbox_whose_store_refuses_its_password_says_so() -> None:
    refused = {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}
    with refusing({"saslStart": refused}) as port:
        where = ("--state", f"mongodb://127.0.0.1:{port}/fedn")
        done = command("sandbox", PUPPET, *where, FEDN_MONGO_USER="alice", FEDN_MONGO_PASSWORD="hunter2")
    said = complained(done, code="store_refused", exit_code=2)
    assert "does not accept the user and password of FEDN_MONGO_USER and FEDN_MONGO_PASSWORD" in said
    assert "alice" not in done.stderr + done.stdout
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize("given", ["http", "no port", "no database"])
def test_an_address_that_cannot_be_right_ends_the_reducer_with_a_sentence(tmp_path: Path, given: str) -> None:
    url = {"http": "http://h:1/d", "no port": "mongodb://h/d", "no database": "mongodb://h:1"}[given]
    done = command("run", "reducer", "--state", url, cwd=tmp_path)
    assert (done.returncode, "--state: expected mongodb://HOST:PORT/DATABASE" in done.stderr) == (2, True), done.stderr


def not_ready(net: Network) -> dict[str, Any]:
    """Wait until the reducer says that it is not ready; its error."""

    def look() -> dict[str, Any]:
        answered = net.http.get(f"{net.address}/ready")
        return dict(answered.json()["error"]) if answered.status_code == 503 else {}

    return until(look, "it is not ready")


def test_a_blob_store_that_is_killed_mid_round_costs_nothing(
    fresh: Network, blob_server: Rclone, expected: list[str]
) -> None:
    server = blob_server.server()
    fresh.stores, fresh.secrets = ["--blobs", server.url], server.variables
    fresh.up(clients=2, workers=2)
    session = fresh.start(rounds=3, settings=fresh.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(list(fresh.folder.glob("waits-*"))) == 2, "both clients train")
    blob_server.kill()
    error = not_ready(fresh)
    assert error["code"] == "unavailable"
    assert f"the blob store {blob_server.address} does not answer" in error["reason"]
    (fresh.folder / "go").touch()
    reducer = fresh.roles["reducer"]
    reducer.says(f"waiting: the blob store {blob_server.address} does not answer: the connection is refused")
    blob_server.start()
    ended = fresh.finished(session)
    assert models(ended) == expected
    assert [(r["updates"], r["failures"]) for r in ended["rounds"]] == [(2, [])] * 3
    assert fresh.fedn("trail", "verify").returncode == 0
    assert "Traceback" not in reducer.text
    assert not any(word in role.text for role in fresh.roles.values() for word in server.variables.values())
    stored = {path.name for path in (blob_server.folder / server.place.bucket).iterdir()}
    assert set(models(ended)) <= stored


def test_wrong_keys_of_the_blob_store_are_named(fresh: Network, blob_server: Rclone) -> None:
    server = blob_server.server()
    fresh.stores, fresh.secrets = ["--blobs", server.url], server.variables | {"FEDN_MINIO_SECRET_KEY": "wrong-secret"}
    reducer = fresh.reducer()
    error = not_ready(fresh)
    assert error["code"] == "store_refused"
    assert "does not accept FEDN_MINIO_SECRET_KEY" in error["reason"]
    assert "wrong-secret" not in json.dumps(error) + reducer.text


def test_a_blob_store_without_keys_ends_the_reducer_with_a_sentence(tmp_path: Path) -> None:
    done = command("run", "reducer", "--blobs", "s3://127.0.0.1:9000/fedn?tls=false", cwd=tmp_path)
    said = complained(done, code="config_invalid", exit_code=2)
    assert "both FEDN_MINIO_ACCESS_KEY and FEDN_MINIO_SECRET_KEY" in said


def test_a_sandbox_gives_the_same_model_whatever_its_stores(
    tmp_path: Path, state_server: Nx27017, blob_server: Rclone
) -> None:
    size = ("--combiners", 2, "--clients", 3, "--rounds", 2, "--seed", 5)
    server, found = blob_server.server(), []
    stores = ["--state", state_server.url(), "--blobs", server.url]
    for name, where in (("embedded", []), ("servers", stores)):
        out = tmp_path / f"{name}.json"
        keys = {key: value for key, value in server.variables.items() if where}
        done = command("sandbox", PUPPET, *size, *where, "--json", out, cwd=None, **keys)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(out.read_text())["final_model_id"])
    assert found[0] == found[1]
