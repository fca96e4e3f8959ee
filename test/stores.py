"""Real store servers for tests, each on a port of the kernel's choice, started again at the same one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

COME_UP_S = 30.0
LOOK_S = 0.02


def required() -> bool:
    """True where a test must not be skipped because a store's server is missing."""
    return os.environ.get("FEDN_REQUIRE_STORES") == "1"


def missing(what: str) -> None:
    """Skip the test, or fail it where stores are required."""
    if required():
        pytest.fail(f"{what}, and FEDN_REQUIRE_STORES=1", pytrace=False)
    pytest.skip(what)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class StoreServer:
    """A server process over a folder; what it has acknowledged is there again after `kill` and `start`."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + COME_UP_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(LOOK_S)
        raise AssertionError(f"{self._command[0]} does not listen:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """kill -9: it can put nothing in order."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """It holds its connections, and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


class Nx27017(StoreServer):
    """nx-27017, a server of the MongoDB wire protocol over SQLite files. It is not MongoDB."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        program = Path(sys.executable).with_name("nx-27017")
        if not program.exists():
            missing("nx-27017 is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        data, files = str(folder / "data"), ["--log-file", str(folder / "own.log"), "--pid-file", str(folder / "pid")]
        super().__init__([str(program), "--data-dir", data, "-p", str(port), *files], port, folder / "server.log")

    def url(self, database: str | None = None) -> str:
        """The address of a database; a new one unless it is named."""
        return f"mongodb://127.0.0.1:{self.port}/{database or fresh_name()}"


def fresh_name() -> str:
    """The name of a database that nobody uses."""
    return f"fedn_test_{uuid.uuid4().hex[:12]}"


@contextmanager
def nx_27017(folder: Path) -> Iterator[Nx27017]:
    """A running nx-27017, killed at the end."""
    server = Nx27017(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
