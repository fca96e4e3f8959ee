"""A network of real processes for tests: started on free ports, watched by what they say, and gone at the end.

Nothing here waits for a time: it looks again and again for what must happen, and gives up after `PATIENCE_S`,
which only a machine that is far too busy needs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project

PATIENCE_S = 90.0
LOOK_S = 0.03
MARK = "PUPPET_RUN"  # in the environment of all that we start, and of all that they start
PUPPET = Path(__file__).with_name("puppet")
TAIL_LINES = 25

T = TypeVar("T")


def until(look: Callable[[], T], what: str, *, within: float = PATIENCE_S) -> T:
    """The first true value that `look` gives; a reducer that does not answer yet counts as false."""
    deadline, found = time.monotonic() + within, None
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            found = look()
            if found:
                return found
        time.sleep(LOOK_S)
    raise AssertionError(f"did not happen within {within:g} s: {what}; last seen: {found!r}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def marked(mark: str) -> dict[int, str]:
    """The living processes that carry the mark: their command lines by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it ended as we looked
            if folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def clean_environ(mark: str, **more: str) -> dict[str, str]:
    """Our environment without FEDn's settings: a developer's own must not change a test."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("FEDN_")}
    return own | {MARK: mark, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | more


@dataclass
class Role:
    """A `fedn` process in a process group of its own; its output goes to a log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def tail(self) -> str:
        return "\n".join(self.text.splitlines()[-TAIL_LINES:])

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def says(self, words: str, *, times: int = 1) -> None:
        """Wait until the log has the words."""
        until(lambda: self.text.count(words) >= times or not self.alive, f"{self.name} says {words!r}")
        assert self.text.count(words) >= times, f"{self.name} has ended without {words!r}:\n{self.tail}"

    def ends(self, *, within: float = PATIENCE_S) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within:g} s:\n{self.tail}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process, as a supervisor does; returns the exit code."""
        self.process.send_signal(number)
        return self.ends()

    def kill(self) -> None:
        """SIGKILL to the whole group: nothing can be put in order any more."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Network:
    """Roles in a folder, and the reducer's REST interface."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict, repr=False)  # of all that we start
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    address: str = ""
    stores: Sequence[str] = ()  # the reducer's options that name its stores
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # and the variables that open them
    before: dict[str, list[str]] = field(default_factory=dict)  # commands under which roles run, by the role's name
    roles: dict[str, Role] = field(default_factory=dict, repr=False)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, verify=False), repr=False)

    def program(self, name: str) -> list[str]:
        """What is started for the role of this name; its arguments follow."""
        return [sys.executable, "-m", "fedn"]

    def run(self, name: str, *arguments: object, **environ: str) -> Role:
        """Start `fedn <arguments>`; a name that ran before runs again, and its log goes on."""
        log = self.folder / f"{name}.log"
        made_here = {"FEDN_CLIENT_ENV_DIR": str(self.folder / "envs")}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self.before.get(name, ()), *self.program(name), *map(str, arguments)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environ(self.mark, **made_here | self.environ | environ),
                start_new_session=True,
            )
        self.roles[name] = Role(name, process, log)
        return self.roles[name]

    def reducer(self, *arguments: object, workers: int = 1) -> Role:
        """Start the reducer, without waiting until it is ready; a restart is at the same address."""
        port, where = self.address.rpartition(":")[2] or 0, ["--dir", "reducer", "--lease-s", 2]
        role = self.run(
            "reducer",
            *("run", "reducer", "--port", port, "--workers", workers, *where, *self.stores, *arguments),
            **self.secrets,
        )
        if not self.address:
            role.says("reducer at http")
            (self.address,) = re.findall(r"^reducer at (http\S+)$", role.text, re.MULTILINE)
        return role

    def combiner(self, name: str = "north", *arguments: object) -> Role:
        """Start a combiner; a restart is in the same folder."""
        where = ["--name", name, "--reducer", self.address, "--dir", name]
        return self.run(name, "run", "combiner", *where, *arguments)

    def client(self, name: str, *arguments: object) -> Role:
        """Start a client; a restart is in the same folder."""
        where = ["--name", name, "--reducer", self.address, "--dir", name]
        return self.run(name, "run", "client", *where, *arguments)

    def up(
        self, *, combiners: Sequence[str] = ("north",), clients: int = 2, workers: int = 1, grace_s: float = 20
    ) -> None:
        """Start everything, clients c0, c1, … among it; seed model and compute package are there."""
        self.reducer(workers=workers)
        self.ready()
        for name in combiners:
            self.combiner(name, "--reconnect-grace-s", grace_s)
        self.plant()
        # Clients are spread over the combiners that are up when they ask.
        until(lambda: sum(c["up"] for c in self.get("/")["combiners"]) == len(combiners), "the combiners are up")
        for k in range(clients):
            self.client(f"c{k}")
        self.connected(clients)

    def ready(self) -> None:
        """Wait for the reducer."""
        until(lambda: self.http.get(f"{self.address}/ready").is_success, "the reducer is ready")

    def plant(self, project: Path = PUPPET, *, padding: int = 0) -> None:
        """Upload the puppet's compute package and a seed model of zeros, with so many more that nobody trains."""
        package, seed = self.folder / "package.tar", self.folder / "seed.safetensors"
        create(load_project(project), package)
        model: dict[str, np.ndarray[Any, Any]] = {"w": np.zeros(8, np.float32), "steps": np.zeros(1, np.int64)}
        if padding:
            model["padding"] = np.zeros(padding, np.float32)
        write_model(seed, model)
        for path, file in (("/context", package), ("/seed", seed)):
            sent = self.send(path, file.read_bytes())
            assert sent.status_code == httpx.codes.CREATED, sent.text

    def connected(self, count: int) -> None:
        """Wait until so many clients are attached."""
        until(lambda: self.get("/")["connected"] == count, f"{count} clients are connected")

    def parts(self) -> dict[str, int]:
        """The attached clients' parts by their names."""
        return {c["name"]: c["part"] for combiner in self.get("/")["combiners"] for c in combiner["clients"]}

    def moves(self, **moves: str) -> dict[str, Any]:
        """Client settings by which these clients make these moves when they train."""
        parts = self.parts()
        return {"folder": str(self.folder), "train": {str(parts[name]): move for name, move in moves.items()}}

    def runs(self) -> list[dict[str, Any]]:
        """The trainings that were begun under such settings, oldest first."""
        path = self.folder / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def get(self, path: str, **query: Any) -> Any:
        """GET as JSON, which must succeed."""
        answered = self.http.get(f"{self.address}{path}", params=query)
        assert answered.is_success, answered.text
        return answered.json()

    def post(self, path: str, body: Any = None) -> httpx.Response:
        """POST JSON; the answer, whatever it is."""
        return self.http.post(f"{self.address}{path}", json=body or {})

    def send(self, path: str, content: bytes | str, *, kind: str = "application/octet-stream") -> httpx.Response:
        """POST these bytes; the answer, whatever it is."""
        return self.http.post(f"{self.address}{path}", content=content, headers={"Content-Type": kind})

    def start(self, **config: Any) -> str:
        """Start a session, with seed 7 unless told otherwise; returns its id."""
        answered = self.post("/start", {"seed": 7} | config)
        assert answered.status_code == httpx.codes.ACCEPTED, answered.text
        return str(answered.json()["session"])

    def session(self, session_id: str) -> Any:
        """The session as it stands."""
        return self.get(f"/api/v1/sessions/{session_id}")

    def ended(self, session_id: str) -> Any:
        """Wait for the session's end."""
        return until(lambda: (s := self.session(session_id))["ended"] and s, f"session {session_id} ends")

    def finished(self, session_id: str) -> Any:
        """Wait for the session's end, which must be a good one."""
        session = self.ended(session_id)
        assert session["status"] == "finished", session
        return session

    def round(self, session_id: str, number: int, *, kind: str = "train") -> Any:
        """The newest record of a round."""
        records = self.get(f"/api/v1/sessions/{session_id}/rounds/{number}")["rounds"]
        return [r for r in records if r["kind"] == kind][-1]

    def clients_of(self, session_id: str, number: int, **more: Any) -> dict[str, Any]:
        """The lines of a round's clients, by name."""
        return {line["name"]: line for line in self.round(session_id, number, **more)["clients"]}

    def stop_sessions(self) -> None:
        """End what a test left running."""
        for session in self.get("/api/v1/sessions")["sessions"]:
            if session["ended"] is None:
                self.post(f"/api/v1/sessions/{session['id']}/stop")
                self.ended(session["id"])

    def fedn(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command against this network's reducer."""
        return command(*arguments, "--reducer", self.address, cwd=None, **self.environ)

    def left(self) -> dict[int, str]:
        """Processes that carry our mark, of this network or begun by it."""
        return marked(self.mark)

    def down(self) -> None:
        """Kill whatever is left."""
        while left := self.left():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for role in self.roles.values():
                role.process.poll()
        for role in self.roles.values():
            role.process.wait()
        self.http.close()


N = TypeVar("N", bound=Network)


@contextmanager
def network(folder: Path, **environ: str) -> Iterator[Network]:
    """An empty network, watched."""
    with watched(Network(folder, environ)) as made:
        yield made


@contextmanager
def watched(made: N) -> Iterator[N]:
    """A network; on failure the end of every log is shown, and at the end no process is left."""
    try:
        yield made
    except BaseException:
        for role in made.roles.values():
            print(f"── {role.name} " + ("runs" if role.alive else f"ended with {role.process.returncode}"))
            print(role.tail)
        raise
    finally:
        made.down()


def command(*arguments: object, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `fedn <arguments>` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fedn", *map(str, arguments)],
        cwd=cwd,
        env=clean_environ(uuid.uuid4().hex, **environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def complained(done: subprocess.CompletedProcess[str], *, code: str, exit_code: int) -> str:
    """The one sentence of a command that failed as it should; returns it."""
    assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines, "nothing was said"
    assert lines[0].startswith("error: "), done.stderr
    assert lines[0].endswith(f"[{code}]"), done.stderr
    assert len(lines) == 1 or all(line.startswith("  │") for line in lines[1:]), done.stderr
    return lines[0]
