"""The programs of one peer, each in a session of its own with a log file; all end when the stage is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.peers.memory import Watch

T = TypeVar("T")
COME_UP_S = 120.0
LOOK_S = 0.1
TAIL_LINES = 8
TAIL_LETTERS = 1500
ELEMENT_BYTES = 4
LAYERS = 4  # as in bench/round.py


class PeerFailedError(Exception):
    """A peer did not do the work; says what was tried and gives the peer's own message."""


@dataclass(frozen=True)
class Work:
    """What every peer does: FedAvg over float32 layers of equal size, without evaluation."""

    clients: int
    megabytes: float
    rounds: int
    layers: int = LAYERS

    @property
    def elements(self) -> int:
        """Per layer."""
        return round(self.megabytes * 1e6) // ELEMENT_BYTES // self.layers


@dataclass
class Program:
    """One process that was started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace")

    @property
    def tail(self) -> str:
        """The end of it."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return "\n".join(lines[-TAIL_LINES:])[-TAIL_LETTERS:]


@dataclass
class Stage:
    """Where a peer plays: its folder, its virtual environment, its processes. Use as a context manager."""

    folder: Path
    environment: Path
    watch: Watch = field(default_factory=Watch)
    programs: list[Program] = field(default_factory=list)

    def __enter__(self) -> Stage:
        for name in ("logs", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        self.end(*self.programs)

    def end(self, *programs: Program) -> None:
        """End these, and what they have started in their session."""
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            for program in programs:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(program.process.pid, number)
            _await_end(programs, patience)

    @property
    def python(self) -> Path:
        """The peer's own interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """A command of the peer's environment."""
        return self.environment / "bin" / name

    def start(
        self,
        name: str,
        words: Sequence[object],
        *,
        role: str | None = None,
        environ: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        """Start a program; the memory of its whole tree counts for the role, if it has one (`client-3`: a client)."""
        log = self.folder / "logs" / f"{name}.log"
        own = {
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | own | (environ or {}),
                cwd=self.folder if cwd is None else cwd,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self.programs.append(program)
        if role is not None:
            self.watch.add(role, process.pid)
        return program

    def finish(
        self, name: str, words: Sequence[object], *, environ: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Run a program to its end. Raises PeerFailedError unless it exits with 0."""
        program = self.start(name, words, environ=environ, cwd=cwd)
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(COME_UP_S)
        if program.process.returncode != 0:
            raise PeerFailedError(f"{name} {_how(program)}: {program.tail}")
        self.programs.remove(program)

    def until(self, look: Callable[[], T | None], what: str, *, within: float | None = COME_UP_S) -> T:
        """The first true value that `look` gives; None waits as long as the whole measurement may take.

        Raises PeerFailedError when a program ends meanwhile, or the time is over.
        """
        ends = None if within is None else time.monotonic() + within
        while ends is None or time.monotonic() < ends:
            ended = next((program for program in self.programs if program.process.poll() is not None), None)
            if found := look():
                return found
            if ended is not None:
                raise PeerFailedError(f"while {what}: {ended.name} {_how(ended)}: {ended.tail}")
            time.sleep(LOOK_S)
        said = "; ".join(f"{program.name}: {program.tail}" for program in self.programs[:2])
        raise PeerFailedError(f"not within {within:g} s: {what}; {said}")


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def listens(port: int) -> bool:
    """True when somebody accepts connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _await_end(programs: Sequence[Program], patience: float) -> None:
    ends = time.monotonic() + patience
    for program in programs:
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(max(0.0, ends - time.monotonic()))


def _how(program: Program) -> str:
    code = program.process.returncode
    return "did not end" if code is None else f"ended with exit code {code}"
