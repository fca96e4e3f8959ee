"""Real embedded stores, the reducer's application over them, and both ways to fold, for the unit tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from fedn.aggregation.agreement import load
from fedn.aggregation.kernel import LIBRARY, Kernel
from fedn.config import ReducerSettings
from fedn.reducer.app import create_app
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine
from fedn.storage.sqlite import SqliteState
from test.unit.api_bench import LIMIT

# Without a compiler there is one implementation, and one is tested; a build that requires both is told by an error.
IMPLEMENTATIONS = ["numpy", "compiled"] if LIBRARY.exists() or os.environ.get("FEDN_REQUIRE_KERNEL") else ["numpy"]


@pytest.fixture(scope="session", params=IMPLEMENTATIONS)
def kernel(request: pytest.FixtureRequest) -> Kernel | None:
    """What a fold computes with: None is numpy."""
    return load() if request.param == "compiled" else None


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    store = SqliteState(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose engine never leads, so that sessions stay as the routes left them."""
    settings = ReducerSettings(dir=tmp_path / "reducer", max_model_bytes=LIMIT, max_package_bytes=LIMIT)
    desk = Desk.open(settings)
    desk.state.insert("leases", {"_id": "control", "term": 1, "beat": 0, "holder": "another"})
    yield replace(desk, settings=replace(settings, lease_s=3600.0))
    desk.close()


@pytest.fixture
def app(desk: Desk) -> Iterator[Flask]:
    engine = Engine(desk)
    engine.start()
    yield create_app(desk, engine)
    engine.stop()


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()
