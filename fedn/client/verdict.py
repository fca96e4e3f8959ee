"""One run of an entry point, in whatever kind of process: what it is given, and how its end is judged."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedn.client.blame import failed
from fedn.errors import CommandMissing, EntryPointKilled, TaskTimeout
from fedn.package.entry_point import PYTHONS, is_python_script

log = logging.getLogger(__name__)

Log = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """``command arguments``, to be run in the folder `cwd` with exactly this environment.

    `python` is the interpreter that ``python`` in the command means; `log` gets each line of output.
    """

    command: tuple[str, ...]
    arguments: tuple[str, ...]
    cwd: Path
    environ: Mapping[str, str]
    python: str = sys.executable
    log: Log | None = None

    @property
    def shown(self) -> str:
        """The command as a person would type it."""
        return shlex.join(self.command)

    @property
    def words(self) -> list[str]:
        """Program and arguments."""
        first, *rest = self.command
        return [self.python if first in PYTHONS else first, *rest, *self.arguments]


@dataclass(frozen=True)
class Ended:
    """How one attempt ended. `exit_code` is None when its time was up, negative when that signal killed it."""

    exit_code: int | None
    stdout_tail: str
    stderr_tail: str

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it that we did not send."""
        return self.exit_code is not None and self.exit_code < 0


@dataclass(frozen=True)
class Finished:
    """An entry point that ended well."""

    seconds: float
    stdout_tail: str
    stderr_tail: str


async def judged(attempt: Callable[[float], Awaitable[Ended]], *, run: Run, time_limit_s: float) -> Finished:
    """The outcome of `attempt`, which is given the seconds it has; one that a signal killed is made once more.

    Raises CommandMissing, EntryPointFailed (or what a helper raised in the script), EntryPointKilled and TaskTimeout,
    each with the last 64 KiB of the script's stderr in ``detail["stderr_tail"]``.
    """
    require_script(run)
    started, shown = time.monotonic(), run.shown
    ended = await attempt(time_limit_s)
    if ended.was_killed:
        log.warning("`%s` was killed by %s; it is run once more", shown, _name(-(ended.exit_code or 0)))
        ended = await attempt(time_limit_s - (time.monotonic() - started))
    tail = ended.stderr_tail
    if ended.exit_code is None:
        raise TaskTimeout(f"`{shown}` ran past its {time_limit_s:g} s and was stopped", stderr_tail=tail)
    if ended.exit_code < 0:
        hint = "; the system does so to what takes too much memory" if ended.exit_code == -signal.SIGKILL else ""
        raise EntryPointKilled(f"`{shown}` was killed by {_name(-ended.exit_code)}, twice{hint}", stderr_tail=tail)
    if ended.exit_code > 0:
        raise failed(shown, ended.exit_code, tail)
    return Finished(time.monotonic() - started, ended.stdout_tail, tail)


def require_script(run: Run) -> None:
    """Raises CommandMissing when the script that Python is to run is not there: Python itself would end with 2."""
    if is_python_script(run.command) and run.cwd.is_dir() and not (run.cwd / run.command[1]).is_file():
        raise CommandMissing(f"`{run.shown}`: there is no file {run.command[1]!r} in the package", stderr_tail="")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
