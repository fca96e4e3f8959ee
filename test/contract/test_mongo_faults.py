"""What a server of the MongoDB wire protocol does wrong, and what the state store makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from fedn.errors import AlreadyExists, BadInput, FednError, StoreRefused, Unavailable, VersionConflict
from fedn.storage.mongo import MongoState
from fedn.storage.mongo_errors import Doing, taken, translated
from fedn.storage.urls import MongoPlace
from test.contract.mongo_doubles import Loser, loser, refusing
from test.stores import Nx27017, fresh_name, running

FORKER = """
import os, sys
from fedn.storage.mongo import MongoState
from fedn.storage.urls import MongoPlace
state = MongoState(MongoPlace("127.0.0.1", {port}, {database!r}))
state.insert("context", {{"_id": "before"}})
child = os.fork()
if child == 0:
    state.insert("context", {{"_id": "child"}})
    os._exit(0 if len(state._lines) == 2 else 1)
_, status = os.waitpid(child, 0)
state.insert("context", {{"_id": "after"}})
found = [d["_id"] for d in state.find("context")]
state.close()
assert (status, found) == (0, ["after", "before", "child"]), (status, found)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nx27017]:
    with running(Nx27017(tmp_path_factory.mktemp("nx-27017"))) as server:
        yield server


@pytest.fixture
def database() -> str:
    return fresh_name()


@pytest.fixture
def opened() -> Iterator[Callable[..., MongoState]]:
    states = []

    def open_at(port: int, database: str, **more: Any) -> MongoState:
        states.append(MongoState(MongoPlace("127.0.0.1", port, database), connect_s=2.0, **more))
        return states[-1]

    yield open_at
    for state in states:
        state.close()


@pytest.fixture
def direct(opened: Callable[..., MongoState], server: Nx27017, database: str) -> MongoState:
    return opened(server.port, database)


@pytest.fixture
def lossy(opened: Callable[..., MongoState], server: Nx27017, database: str) -> Iterator[tuple[MongoState, Loser]]:
    with loser(server.port) as (proxy, port):
        state = opened(port, database)
        state.count("trail")
        yield state, proxy


# ── messages that are lost ──


@pytest.mark.parametrize("only_answer", [True, False], ids=["answer", "request"])
def test_a_write_whose_message_is_lost_is_done_once(
    lossy: tuple[MongoState, Loser], direct: MongoState, only_answer: bool
) -> None:
    state, proxy = lossy
    proxy.lose("first", only_answer=only_answer)
    inserted = state.insert("trail", {"_id": "r", "seq": 0, "text": "first"})
    assert direct.find("trail") == [inserted] == [{"_id": "r", "seq": 0, "text": "first", "_version": 1}]
    document = state.insert("context", {"_id": "c", "n": 0})
    proxy.lose("second", only_answer=only_answer)
    changed = state.replace("context", document | {"n": 1, "text": "second"})
    assert direct.get("context", "c") == changed == {"_id": "c", "n": 1, "text": "second", "_version": 2}
    proxy.lose("delete", only_answer=only_answer)
    state.delete("context", "c", version=2)
    assert direct.count("context") == 0
    state.insert("context", {"_id": "d", "n": 0})
    proxy.lose("delete", only_answer=only_answer)
    state.clear("context", {"n": 0})
    assert direct.count("context") == 0
    proxy.lose("find", only_answer=only_answer)
    assert state.get("trail", "r") == inserted
    assert proxy.lost == 5


def test_a_write_that_was_lost_while_another_was_quicker_is_refused(
    lossy: tuple[MongoState, Loser], direct: MongoState
) -> None:
    state, proxy = lossy
    proxy.lose("mine", only_answer=False, meanwhile=lambda: direct.insert("trail", {"_id": "r", "seq": 0}))
    with pytest.raises(AlreadyExists) as caught:
        state.insert("trail", {"_id": "q", "seq": 0, "text": "mine"})
    assert caught.value.detail == {"collection": "trail", "field": "seq"}
    document = direct.insert("context", {"_id": "c", "n": 0})
    proxy.lose("mine", only_answer=False, meanwhile=lambda: direct.replace("context", document | {"n": 7}))
    with pytest.raises(VersionConflict):
        state.replace("context", document | {"n": 1, "text": "mine"})
    assert direct.get("context", "c") == {"_id": "c", "n": 7, "_version": 2}


# ── a server that is away ──


def test_a_server_that_is_away_is_named_and_found_again(
    tmp_path: Path, opened: Callable[..., MongoState], database: str
) -> None:
    with running(Nx27017(tmp_path)) as server:
        state = opened(server.port, database, user=None, password=None)
        state.insert("trail", {"_id": "a", "seq": 0})
        server.kill()
        with pytest.raises(Unavailable) as caught:
            state.insert("trail", {"_id": "b", "seq": 1})
        assert caught.value.reason == f"the state store at 127.0.0.1:{server.port} does not answer: Connection refused"
        server.start()
        assert state.insert("trail", {"_id": "c", "seq": 1})["_version"] == 1
        assert state.count("trail") == 2
        server.kill()
        shutil.rmtree(tmp_path / "data")  # its disk was lost: what it promises must hold all the same
        with pytest.raises(Unavailable):
            state.count("trail")
        server.start()
        state.insert("trail", {"_id": "a", "seq": 0})
        with pytest.raises(AlreadyExists):
            state.insert("trail", {"_id": "b", "seq": 0})


def test_while_the_server_is_away_one_thread_looks_and_the_others_are_told_at_once(
    tmp_path: Path, database: str
) -> None:
    """Otherwise all threads of a worker would wait, and its health could not be asked."""
    with running(Nx27017(tmp_path)) as server:
        state = MongoState(MongoPlace("127.0.0.1", server.port, database), connect_s=60.0)
        state.count("trail")
        line = state._line()
        server.kill()
        line.away = "it was away a moment ago"
        looking = threading.Thread(target=lambda: state.count("trail"))
        looking.start()
        while not line.probe.locked():
            continue
        with pytest.raises(Unavailable, match=r"it was away a moment ago|Connection refused|the connection broke"):
            state.count("trail")
        server.start()
        looking.join(30)
        assert state.count("trail") == 0
        assert not line.away
        state.close()


def test_a_server_that_hangs_is_unavailable_and_what_it_did_later_counts_once(
    tmp_path: Path, opened: Callable[..., MongoState], database: str
) -> None:
    with running(Nx27017(tmp_path)) as server:
        state = opened(server.port, database, answer_s=0.3)
        state.count("trail")
        server.pause()
        with pytest.raises(Unavailable, match="timed out"):
            state.insert("trail", {"_id": "a", "seq": 0})
        server.go_on()
        with suppress(AlreadyExists):
            state.insert("trail", {"_id": "a", "seq": 0})
        assert state.count("trail") == 1


def test_nothing_is_connected_to_before_it_is_used(opened: Callable[..., MongoState], database: str) -> None:
    state = opened(1, database)
    assert not state._lines
    with pytest.raises(Unavailable, match="Connection refused"):
        state.count("trail")


def test_a_name_that_is_no_host_is_said(database: str) -> None:
    state = MongoState(MongoPlace("no-such-host.invalid", 1, database), connect_s=0.5)
    with pytest.raises(Unavailable, match=r"the state store at no-such-host\.invalid:1 does not answer: \w+"):
        state.count("trail")
    state.close()


def test_a_forked_child_makes_its_own_client(server: Nx27017, database: str) -> None:
    script = FORKER.format(port=server.port, database=database)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# ── refusals ──

UNAUTHORIZED = {"ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on d to execute {secret}"}
WRONG = {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}


def test_wrong_credentials_are_one_sentence(opened: Callable[..., MongoState]) -> None:
    with refusing({"saslStart": WRONG}) as port:
        with pytest.raises(StoreRefused) as caught:
            opened(port, "d", user="alice", password="hunter2").count("trail")
        assert caught.value.reason == (
            f"the state store at 127.0.0.1:{port} does not accept the user and password of FEDN_MONGO_USER and "
            "FEDN_MONGO_PASSWORD"
        )
        assert "alice" not in repr(caught.value)


def test_missing_credentials_and_missing_rights_are_told_apart(opened: Callable[..., MongoState]) -> None:
    with refusing({"createIndexes": UNAUTHORIZED}) as port, pytest.raises(StoreRefused, match="asks for a user: set"):
        opened(port, "d").count("trail")
    with refusing({"find": UNAUTHORIZED}) as port:
        with pytest.raises(StoreRefused) as caught:
            opened(port, "d").get("trail", "a")
        assert "secret" not in caught.value.reason
    said = "does not let the user of FEDN_MONGO_USER insert into 'trail' of the database 'd'"
    with (
        pytest.raises(StoreRefused, match=said),
        translated(Doing("insert into", "trail", MongoPlace("h", 1, "d"), True)),
    ):
        raise OperationFailure("not authorized on d to execute {secret}", 13)


def test_a_server_that_steps_down_is_unavailable(opened: Callable[..., MongoState]) -> None:
    down = {"ok": 0, "code": 91, "codeName": "ShutdownInProgress", "errmsg": "shutting down"}
    with refusing({"find": down}) as port, pytest.raises(Unavailable, match=r"the state store at 127\.0\.0\.1"):
        opened(port, "d").get("trail", "a")


BROKEN_OFF = [24, 43, 112, 134, 175, 237, 11601, 14031]
NOT_LEADING = [91, 189, 10107, 11600, 11602, 13435, 13436]


@pytest.mark.parametrize("code", BROKEN_OFF)
def test_a_read_that_the_server_broke_off_is_unavailable(opened: Callable[..., MongoState], code: int) -> None:
    said = {"ok": 0, "code": code, "errmsg": "{secret}"}
    with refusing({"find": said}) as port, pytest.raises(Unavailable, match=rf":{port} .*its error {code}"):
        opened(port, "d").get("trail", "a")


@pytest.mark.parametrize("code", BROKEN_OFF + NOT_LEADING)
def test_a_write_that_the_server_broke_off_is_unavailable_so_that_a_session_waits(
    opened: Callable[..., MongoState], code: int
) -> None:
    said = {"ok": 1, "n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "{secret}"}]}
    with refusing({"insert": said}) as port:
        with pytest.raises(Unavailable, match=rf":{port} .*its error {code}") as caught:
            opened(port, "d").insert("trail", {"_id": "a", "seq": 0})
        assert "secret" not in caught.value.reason


@pytest.mark.parametrize("label", ["RetryableWriteError", "TransientTransactionError", "RetryableError"])
def test_what_the_server_says_may_be_tried_again_is_unavailable(opened: Callable[..., MongoState], label: str) -> None:
    unknown = {"ok": 0, "code": 424242, "errmsg": "soon", "errorLabels": [label]}
    with refusing({"find": unknown}) as port, pytest.raises(Unavailable, match="its error 424242"):
        opened(port, "d").get("trail", "a")


def test_what_does_not_pass_is_not_waited_for(opened: Callable[..., MongoState]) -> None:
    with refusing({"find": {"ok": 0, "code": 2, "errmsg": "bad value"}}) as port:
        with pytest.raises(FednError, match="its error 2") as caught:
            opened(port, "d").get("trail", "a")
        assert not isinstance(caught.value, Unavailable)


def test_a_document_that_is_too_large_is_bad_input(direct: MongoState) -> None:
    with pytest.raises(BadInput, match="larger than the state store's limit of 16 MB"):
        direct.insert("context", {"_id": "a", "text": "x" * (17 * 2**20)})
    document = direct.insert("context", {"_id": "a"})
    with pytest.raises(BadInput, match="16 MB"):
        direct.replace("context", document | {"text": "x" * (17 * 2**20)})
    assert direct.get("context", "a") == document


@pytest.mark.parametrize(
    ("details", "field"),
    [
        ({"keyPattern": {"seq": 1}, "errmsg": "E11000 duplicate key error …"}, "seq"),
        ({"errmsg": 'E11000 duplicate key error collection: d.trail index: round_key dup key: { : "x" }'}, "round_key"),
        ({"errmsg": "E11000 duplicate key error collection: d.trail index: _id_ dup key: { : 1 }"}, "_id"),
        ({"errmsg": "UNIQUE constraint failed: index 'idx_trail_round_key'"}, "round_key"),
        ({"errmsg": "UNIQUE constraint failed: trail._id"}, "_id"),
    ],
)
def test_a_taken_field_is_read_from_the_words_of_every_server(details: dict[str, object], field: str) -> None:
    assert taken("trail", details).detail == {"collection": "trail", "field": field}


@pytest.mark.parametrize("key", ["_write", "_null", "a.b", "$set", "%", "%2E", "", "_idle"])
def test_a_key_that_means_something_to_a_server_comes_back(direct: MongoState, key: str) -> None:
    document = direct.insert("context", {"_id": "a", key: {key: [{key: 1}]}})
    assert direct.get("context", "a") == document
    again = direct.replace("context", document | {key: None})
    assert direct.get("context", "a") == again == {"_id": "a", key: None, "_version": 2}


def test_a_unique_field_that_is_null_comes_back_as_null(direct: MongoState) -> None:
    for name in ("a", "b"):
        direct.insert("sessions", {"_id": name, "slot": None})
    assert direct.find("sessions", where={"slot": None}, limit=1) == [{"_id": "a", "slot": None, "_version": 1}]
