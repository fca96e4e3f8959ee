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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network that the tests of a file share: two workers, one combiner, clients c0, c1 and c2."""
    with network(tmp_path_factory.mktemp("network")) as made:
        made.up(clients=3, workers=2)
        yield made


@pytest.fixture
def net(running: Network) -> Iterator[Network]:
    """The shared network, idle before and after the test."""
    for leftover in ("runs", "go"):
        (running.folder / leftover).unlink(missing_ok=True)
    yield running
    running.stop_sessions()
