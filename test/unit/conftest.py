"""Real embedded stores for the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedn.storage.sqlite import SqliteState


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    store = SqliteState(tmp_path / "state.db")
    yield store
    store.close()
