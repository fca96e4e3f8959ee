"""The network that is hit: two combiners, two clients at each, a supervisor; it lives on from row to row."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project
from test.faults.control import Halt
from test.faults.halting import LEADER
from test.faults.rows import Isolation, Trigger
from test.stores import Nx27017, Rclone, StoreServer
from test.system.network import Network, free_port, until

ROOT = Path(__file__).parents[2]
PUPPET = Path(__file__).with_name("puppet")
HOMES: Mapping[str, str] = {"c0": "north", "c1": "south", "c2": "north", "c3": "south"}
COMBINERS = ("north", "south")
ELEMENTS = 600_000  # of float32: three chunks of a transfer
HEARTBEAT_S, LEASE_S = 0.5, 1.0
KEEPALIVE = ("--keepalive-s", 1)
LOOK_S = 0.02


class Supervisor:
    """Starts again what ended, at once, in the same folder."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Callable[[], bool], Callable[[], object]]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.started_again: list[str] = []

    def begin(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def keep(self, name: str, alive: Callable[[], bool], start: Callable[[], object]) -> None:
        """Keep this one running."""
        with self._lock:
            self._kept[name] = (alive, start)

    def leave(self, name: str) -> None:
        """Let this one be dead when it dies."""
        with self._lock:
            self._kept.pop(name, None)

    def end(self) -> None:
        """Start nothing any more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._lock:
                for name, (alive, start) in self._kept.items():
                    if not alive():
                        self.started_again.append(name)
                        start()


@dataclass(frozen=True)
class Ways:
    """How a site is: what its stores are, and how soon who stays away is given up."""

    stores: bool = False
    client_grace_s: float = 20.0
    combiner_grace_s: float = 30.0
    elements: int = ELEMENTS  # of the model


@dataclass
class Site(Network):
    """A network whose roles can be halted, and are started again when they end."""

    servers: dict[str, StoreServer] = field(default_factory=dict, repr=False)
    supervisor: Supervisor = field(default_factory=Supervisor, repr=False)
    given: dict[str, tuple[object, ...]] = field(default_factory=dict, repr=False)
    blobs: Path = Path()
    identities: dict[str, str] = field(default_factory=dict, repr=False)  # of the clients, by name
    package: str = ""
    ways: Ways = Ways()

    @property
    def control(self) -> Path:
        """Where halts are asked for, and the puppet notes what it does."""
        return self.folder / "control"

    def program(self, name: str) -> list[str]:
        """A role that halts where it is asked to."""
        return [sys.executable, "-m", "test.faults.halting", str(self.control), name]

    def begin(self) -> None:
        """Start everything; the clients are at home."""
        (self.control / "kept").mkdir(parents=True)
        self.environ["PYTHONPATH"] = str(ROOT)
        self.http = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
        self.address = f"http://127.0.0.1:{free_port()}"
        port, where = self.address.rpartition(":")[2], ("--dir", "reducer", "--workers", 2)
        patience = ("--lease-s", LEASE_S, "--combiner-grace-s", self.ways.combiner_grace_s, *KEEPALIVE)
        for name, server in self.servers.items():
            server.start()
            self.supervisor.keep(name, _is_alive(server), server.start)
        self.supervisor.begin()
        self.set_up("reducer", "run", "reducer", "--port", port, *where, *patience, *self.stores)
        at = ("--reducer", self.address, *KEEPALIVE)
        for name in COMBINERS:
            beat = ("--heartbeat-s", HEARTBEAT_S, "--reconnect-grace-s", self.ways.client_grace_s)
            self.set_up(name, "run", "combiner", "--name", name, *at, "--dir", name, *beat)
        self.ready()
        self.bring("worker")
        self.new_lineage()
        until(lambda: sum(c["up"] for c in self.get("/")["combiners"]) == len(COMBINERS), "the combiners are up")
        for name, home in HOMES.items():
            self.set_up(name, "run", "client", "--name", name, "--combiner", home, *at, "--dir", name)
        self.at_home()

    def set_up(self, name: str, *arguments: object) -> None:
        """Start a role, and keep it running."""
        self.given[name] = arguments
        self.again(name)
        self.keep(name)

    def again(self, name: str) -> None:
        """Start a role as it was started before."""
        self.run(name, *self.given[name], **self.secrets if name == "reducer" else {})

    def keep(self, name: str) -> None:
        """Keep a role running."""
        self.supervisor.keep(name, lambda: self.roles[name].alive, lambda: self.again(name))

    def bring(self, isolation: Isolation) -> None:
        """Upload the compute package whose scripts run so."""
        if self.package != isolation:
            project = self.folder / isolation
            shutil.copytree(PUPPET, project, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            file = project / "fedn.yaml"
            file.write_text(file.read_text().replace("isolation: worker", f"isolation: {isolation}"))
            create(load_project(project), self.folder / "package.tar")
            sent = self.send("/context", (self.folder / "package.tar").read_bytes())
            assert sent.status_code == httpx.codes.CREATED, sent.text
            self.package = isolation

    def new_lineage(self) -> int:
        """Plant the seed model anew; returns its record's number. Models that were made from it are put anew too."""
        seed = self.folder / "seed.safetensors"
        write_model(seed, {"w": np.zeros(self.ways.elements, np.float32), "steps": np.zeros(1, np.int64)})
        sent = self.send("/seed?new_lineage=true", seed.read_bytes())
        assert sent.status_code == httpx.codes.CREATED, sent.text
        return int(self.get("/api/v1/trail")["records"][-1]["seq"])

    def at_home(self) -> None:
        """Wait until everything is there; who is at another combiner than its own is sent home."""
        self.ready()

        def look() -> bool:
            seen = {c["name"]: c for c in self.get("/")["combiners"]}
            if not all(name in seen and seen[name]["up"] for name in COMBINERS):
                return False
            where = {client["name"]: name for name in COMBINERS for client in seen[name]["clients"]}
            self.identities.update({c["name"]: c["client_id"] for s in seen.values() for c in s["clients"]})
            for name, combiner in where.items():
                if combiner != HOMES[name] and self.roles[name].alive:
                    self.roles[name].stop()  # the supervisor starts it again, and it prefers its home
            return where == HOMES

        def settled() -> bool:
            with suppress(AssertionError):  # a store is not back yet
                return look()
            return False

        until(settled, "all are at home")

    def ask(self, trigger: Trigger) -> Halt:
        """Ask a role to halt."""
        halt = Halt(self.control, trigger.role, trigger.point)
        where = {key: self.identities[str(v)] if key == "client" else v for key, v in trigger.where.items()}
        halt.ask(where)
        return halt

    def reached(self, halt: Halt, within: float) -> int:
        """Wait until it halts; the process that does."""
        return until(lambda: halt.reached() or 0, f"{halt.role} comes to {halt.point!r}", within=within)

    def leader(self) -> int:
        """The process of the reducer's worker that leads."""
        return int((self.control / LEADER).read_text())

    def blob(self, digest: str) -> Path:
        """The file of a blob in the blob store."""
        return self.blobs / digest if self.servers else self.blobs / digest[:2] / digest

    def logs(self) -> dict[str, int]:
        """How long each role's log is."""
        return {name: role.log.stat().st_size for name, role in self.roles.items()}

    def said(self, name: str, since: Mapping[str, int]) -> str:
        """What a role has logged since then."""
        return self.roles[name].log.read_bytes()[since.get(name, 0) :].decode(errors="replace")

    def down(self) -> None:
        """Kill whatever is left."""
        self.supervisor.end()
        super().down()
        for server in self.servers.values():
            server.kill()


def _is_alive(server: StoreServer) -> Callable[[], bool]:
    return lambda: server.alive


@contextmanager
def site(folder: Path, ways: Ways) -> Iterator[Site]:
    """A running site."""
    folder.mkdir(parents=True)
    made = Site(folder, ways=ways)
    if ways.stores:
        state, blobs = Nx27017(folder / "mongo"), Rclone(folder / "s3")
        where = blobs.server()
        made.servers = {"mongo": state, "s3": blobs}
        made.stores, made.secrets = ["--state", state.url(), "--blobs", where.url], where.variables
        made.blobs = blobs.folder / where.place.bucket
    else:
        made.blobs = folder / "reducer" / "blobs"
    try:
        made.begin()
        yield made
    finally:
        made.down()
