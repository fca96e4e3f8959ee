"""The sandbox's processes: started together, watched, and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from fedn.cli.descendants import adopt_orphans, kill_descendants
from fedn.errors import FednError

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERM_S = 2.5
TAIL_LINES = 12


@dataclass
class Child:
    """One role's process; its output goes to a log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    mourned: bool = False


class Processes:
    """Use as a context manager: on leaving, none of them is left.

    With `orphans` none of *their* descendants is left either, and nothing interrupts the stopping; this is for a
    program that does nothing else, since all of its descendants are taken for theirs.
    """

    def __init__(self, logs: Path, *, orphans: bool = False) -> None:
        self._logs = logs
        self._orphans = orphans
        self._children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)
        if orphans:
            adopt_orphans()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, arguments: list[str], environ: Mapping[str, str]) -> Child:
        """Start `fedn <arguments>` in a session of its own, so that a Ctrl-C reaches only us."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "fedn", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def newly_dead(self) -> list[Child]:
        """Children that have ended since the last call."""
        dead = [c for c in self._children if not c.mourned and c.process.poll() is not None]
        for child in dead:
            child.mourned = True
        return dead

    def stop(self) -> None:
        """SIGTERM to all, then SIGKILL to whoever is left. A second Ctrl-C must not come between."""
        if self._orphans:
            ignore_interrupts()
        for child in self._children:
            if child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + TERM_S
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        for child in self._children:
            try:
                os.killpg(child.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        for child in self._children:
            child.process.wait()
        if self._orphans:
            kill_descendants()


def on_interrupt(act: Callable[[int, FrameType | None], None]) -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal do this, unless they are ignored (nohup)."""
    for number in INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, act)


def ignore_interrupts() -> None:
    """From now on, nothing interrupts."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def how_it_ended(child: Child) -> str:
    """In words, as a person would say it."""
    code = child.process.returncode
    if code is not None and code < 0:
        return f"{child.name} was killed by {signal.Signals(-code).name}"
    return f"{child.name} ended with exit code {code}"


def broken(child: Child) -> FednError:
    """The error of a role that ended by itself, with the end of its log."""
    tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    return FednError(how_it_ended(child), stderr_tail=tail)
