"""Roles on hosts of their own, and what becomes of a session when the network between them is bad."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.faults.namespaces import Spread, spread


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Spread]:
    with spread(tmp_path) as made:
        made.up(clients=2)
        yield made


def test_a_session_over_namespaces(apart: Spread) -> None:
    apart.finished(apart.start(rounds=2))
