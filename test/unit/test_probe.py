"""`/ready` answers in time whatever the stores do, and says which of them does not."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.cli.health import PATIENCE_S
from fedn.config import ReducerSettings
from fedn.errors import ModelMissing, Unavailable
from fedn.reducer.app import create_app
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine
from fedn.reducer.probe import Probe
from test.stores import Nx27017, running


class Held:
    """A store whose calls stay away until they are let go."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.called, self.let_go = threading.Event(), threading.Event()
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls += 1
            self.called.set()
            self.let_go.wait()
            return getattr(self._store, name)(*args, **more)

        return call


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk.open(ReducerSettings(dir=tmp_path / "reducer"))
    yield desk
    desk.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def test_what_the_stores_say_is_said(desk: Desk) -> None:
    probe = Probe(desk)
    probe.check()
    desk.trail.plant("0" * 64, time=0.0)
    for _ in range(2):
        with pytest.raises(ModelMissing, match="0" * 64):
            probe.check()


def test_a_blob_store_that_stays_away_is_named_and_asked_once(desk: Desk) -> None:
    held = Held(desk.blobs)
    probe = Probe(replace(desk, blobs=held), answer_s=0.05)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"the blob store in .*reducer has not answered for \d+\.\d s"):
            probe.check()
    assert held.calls == 1
    held.let_go.set()
    probe.check()


def test_a_state_store_that_stays_away_is_named(desk: Desk) -> None:
    held = Held(desk.state)
    desk.trail._state = held
    settings = replace(desk.settings, state="mongodb://mongo:27017/fedn")
    with pytest.raises(Unavailable, match="the state store mongodb://mongo:27017/fedn has not answered"):
        Probe(replace(desk, settings=settings), answer_s=0.05).check()
    held.let_go.set()


def not_ready(desk: Desk) -> str:
    """What `/ready` says, within the time that `fedn health reducer` waits."""
    client, began = create_app(desk, Engine(desk)).test_client(), time.monotonic()
    answer: Any = client.get("/ready")
    assert answer.status_code == 503
    assert time.monotonic() - began < PATIENCE_S - 2
    return str(answer.json["error"]["reason"])


@pytest.mark.parametrize("kind", ["state", "blobs"])
def test_readiness_names_a_server_that_never_answers(tmp_path: Path, silent: int, kind: str) -> None:
    at = {"state": f"mongodb://127.0.0.1:{silent}/fedn", "blobs": f"s3://127.0.0.1:{silent}/fedn?tls=false"}
    settings = ReducerSettings(dir=tmp_path / "reducer", minio_access_key="key", minio_secret_key="secret-key")
    address: Any = {kind: at[kind]}
    desk = Desk.open(replace(settings, **address))
    kinds = {"state": "the state store", "blobs": "the blob store"}
    assert re.search(rf"{kinds[kind]} .*127\.0\.0\.1:{silent}.* not answer", not_ready(desk))
    desk.close()


def test_readiness_names_a_state_store_that_hangs(tmp_path: Path) -> None:
    with running(Nx27017(tmp_path / "mongo")) as server:
        desk = Desk.open(ReducerSettings(dir=tmp_path / "reducer", state=server.url()))
        client = create_app(desk, Engine(desk)).test_client()
        assert client.get("/ready").status_code == 200
        server.pause()
        assert f"127.0.0.1:{server.port}" in not_ready(desk)
        server.go_on()
        desk.close()
