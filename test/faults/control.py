"""How a test halts a process at a point of its work: by files in a folder that both know.

::

    test                              process, at the point
    <role>.<point>.ask  ────────────▶ renames it: it halts once, and its next life passes
                        ◀──────────── <role>.<point>.reached, with its process id
    <role>.<point>.go   ────────────▶ goes on

Standard library only: scripts of a compute package use it too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER, ROLE = "FAULTS_CONTROL", "FAULTS_ROLE"  # in the environment of a halting role, and of its scripts
LOOK_S = 0.01


@dataclass(frozen=True)
class Halt:
    """One halt that was asked for."""

    folder: Path
    role: str
    point: str

    def file(self, suffix: str) -> Path:
        """The file that says this of the halt."""
        return self.folder / f"{self.role}.{self.point}.{suffix}"

    def ask(self, where: Mapping[str, object]) -> None:
        """Ask the role to halt when it next comes to the point, and all in `where` is so."""
        for suffix in ("claimed", "reached", "go"):
            self.file(suffix).unlink(missing_ok=True)
        write_whole(self.file("ask"), json.dumps(dict(where)))

    def reached(self) -> int | None:
        """The process that halts there, once one does."""
        with suppress(FileNotFoundError):
            return int(self.file("reached").read_text())
        return None

    def go(self) -> None:
        """Let it go on."""
        self.file("ask").unlink(missing_ok=True)
        self.file("go").touch()

    def claim(self, about: Mapping[str, object]) -> bool:
        """In the process: whether it must halt here and now."""
        try:
            where = json.loads(self.file("ask").read_text())
            if any(str(about.get(key)) != str(value) for key, value in where.items()):
                return False
            self.file("ask").rename(self.file("claimed"))
        except FileNotFoundError:  # nobody asked, or another process was quicker
            return False
        write_whole(self.file("reached"), str(os.getpid()))
        return True

    def may_go(self) -> bool:
        """In the process: whether the halt is over."""
        return self.file("go").exists()


def write_whole(path: Path, text: str) -> None:
    """A file that is never seen half written."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(text)
    fresh.replace(path)


def own_halt(point: str) -> Halt:
    """The halt of this process's role at the point."""
    return Halt(Path(os.environ[FOLDER]), os.environ[ROLE], point)


def pass_by(point: str, **about: object) -> None:
    """Halt here if the test asks for it."""
    halt = own_halt(point)
    if halt.claim(about):
        while not halt.may_go():
            time.sleep(LOOK_S)


def note(event: str, session: str, number: int) -> None:
    """Note what this client did in a round of a session, for the judge."""
    line = {"event": event, "session": session, "round": number, "client": os.environ[ROLE]}
    with Path(os.environ[FOLDER], "runs").open("a") as runs:
        runs.write(json.dumps(line) + "\n")
