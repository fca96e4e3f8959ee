"""Every test here starts real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.system.network import Network, network

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.system)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Network]:
    """An empty network of this test's own."""
    with network(tmp_path) as made:
        yield made
