"""How an entry point runs: a process group of its own, two pipes that are always read, and an end.

::

    start ─▶ leader ends ─▶ the rest of its group is killed ─▶ pipes are read out, for a moment ─▶ judged
               │ time is up          ▲                              killed by a signal: once more, in the time left
               ▼                     │
             SIGTERM ─ 2 s ─▶ SIGKILL to the group          cancelled: SIGKILL to the group
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fedn.client.outputs import Metadata, read_metadata, read_metrics
from fedn.client.pipes import pipe
from fedn.errors import EntryPointFailed, EntryPointKilled, EntryPointMissing, TaskFailed, TaskTimeout

__all__ = ["Finished", "Metadata", "Runner", "read_metadata", "read_metrics", "run_entry_point"]

GRACE_S = 2.0  # between SIGTERM and SIGKILL
DRAIN_S = 1.0  # a grandchild with a session of its own can hold a pipe open for ever
NOT_THERE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class Finished:
    """An entry point that ended well."""

    seconds: float
    stdout_tail: str
    stderr_tail: str


@dataclass(frozen=True)
class _Ended:
    exit_code: int | None  # None: its time was up; negative: killed by that signal
    stdout_tail: str
    stderr_tail: str


class Runner(Protocol):
    """The one way in which a client's tasks start an entry point; `run_entry_point` is the usual one."""

    async def __call__(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        time_limit_s: float,
        log: Callable[[str], None] | None = None,
    ) -> Finished:
        """See `run_entry_point`."""


async def run_entry_point(
    command: Sequence[str],
    arguments: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    time_limit_s: float,
    log: Callable[[str], None] | None = None,
) -> Finished:
    """Run ``command arguments`` in the folder `cwd` with exactly this environment; `log` gets each line of output.

    A script that a signal killed is run once more, the same, within the same time limit. `python` is the Python
    that runs us. Raises EntryPointMissing, EntryPointFailed, EntryPointKilled and TaskTimeout, each with the last
    64 KiB of the script's stderr in ``detail["stderr_tail"]``. Nothing of the script is left when this returns.
    """
    words, shown = [*_program(command), *arguments], shlex.join(command)
    started = time.monotonic()
    ended = await _run(words, cwd, environ, time_limit_s, log)
    if _killed(ended):
        left = time_limit_s - (time.monotonic() - started)
        ended = await _run(words, cwd, environ, left, log)
    seconds, tail = time.monotonic() - started, ended.stderr_tail
    if ended.exit_code is None:
        raise TaskTimeout(f"`{shown}` ran past its {time_limit_s:g} s and was stopped", stderr_tail=tail)
    if ended.exit_code < 0:
        raise EntryPointKilled(f"`{shown}` was killed by {_name(-ended.exit_code)}, twice", stderr_tail=tail)
    if ended.exit_code > 0:
        reason = f"`{shown}` ended with exit code {ended.exit_code}"
        raise EntryPointFailed(reason, stderr_tail=tail, exit_code=ended.exit_code)
    return Finished(seconds, ended.stdout_tail, tail)


def _killed(ended: _Ended) -> bool:
    return ended.exit_code is not None and ended.exit_code < 0


def _program(command: Sequence[str]) -> list[str]:
    if not command:
        raise EntryPointMissing("the entry point has no command")
    first = sys.executable if command[0] in ("python", "python3") else command[0]
    return [first, *command[1:]]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


async def _run(
    words: Sequence[str], cwd: Path, environ: Mapping[str, str], limit_s: float, log: Callable[[str], None] | None
) -> _Ended:
    async with pipe(log) as (out, to_out), pipe(log) as (err, to_err):
        process = await _start(words, cwd, environ, to_out, to_err)
        to_out.close()
        to_err.close()
        async with _end_of_group(process):
            in_time = await _ends_within(process, limit_s)
            if not in_time:
                _signal_group(process, signal.SIGTERM)
                await _ends_within(process, GRACE_S)
        await asyncio.wait([out.ended, err.ended], timeout=DRAIN_S)
        return _Ended(process.returncode if in_time else None, out.text(), err.text())


async def _start(words: Sequence[str], cwd: Path, environ: Mapping[str, str], out: BinaryIO, err: BinaryIO) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *words, cwd=cwd, env=environ, stdin=DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    except OSError as error:
        reason = f"cannot run {words[0]!r}: {error.strerror}"
        if error.errno in NOT_THERE and cwd.is_dir():
            raise EntryPointMissing(reason, stderr_tail="") from error
        raise TaskFailed(reason if cwd.is_dir() else f"there is no folder {cwd}", stderr_tail="") from error


async def _ends_within(process: Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await process.wait()
    except TimeoutError:
        return False
    return True


@contextlib.asynccontextmanager
async def _end_of_group(process: Process) -> AsyncIterator[None]:
    """However the body ends, nobody of the process's group outlives it, and the leader is reaped."""
    try:
        yield
    finally:
        _signal_group(process, signal.SIGKILL)
        await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    # The leader has a session of its own, so its process id is the group's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
