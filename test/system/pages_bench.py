"""What the tests of the pages work with: an application on a socket, a network of processes, looks at a page."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page
from werkzeug.serving import make_server

from fedn.cli.processes import Processes
from test.unit.dashboard_bench import Bench

POLICY = "default-src 'self'; form-action 'self'; base-uri 'none'"


@contextmanager
def served(made: Bench) -> Iterator[str]:
    """The bench's application on a real socket, with a strict policy on every answer; its address."""
    app = made.app()

    @app.after_request
    def strict(answer: Any) -> Any:
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Network:
    """Real processes, begun with a reducer alone."""

    address: str
    folder: Path
    processes: Processes

    def start(self, role: str, name: str) -> None:
        where = ["--name", name, "--reducer", self.address, "--dir", str(self.folder / name)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.processes.start(name, ["run", role, *where], dict(os.environ) | threads | {"FEDN_PARTS": "2"})


def fact(page: Page, name: str) -> Locator:
    return page.locator("#facts > div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def column(page: Page, name: str) -> list[str]:
    """The cells of the rounds' table under a heading, top to bottom."""
    place = page.locator("table.rounds thead th").all_text_contents().index(name)
    rows = page.locator("#rounds tr:not(.trouble)").all()
    return [row.locator("th, td").nth(place).inner_text() for row in rows]


def set_hidden(page: Page, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
