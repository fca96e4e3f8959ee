"""Every test here starts real processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from test.system.network import Network, network

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        if os.environ.get("FEDN_REQUIRE_BROWSER") == "1":
            pytest.fail("FEDN_REQUIRE_BROWSER is set, but there is no chromium on this machine")
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may talk only to this machine, under a strict policy; an error in it fails the test."""
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    opened.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else errors.append(asked.url))
    yield opened
    context.close()
    assert errors == []
