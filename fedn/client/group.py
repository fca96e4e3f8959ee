"""A process with a group of its own: started, waited for with an end, and ended with all of its group."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from fedn.errors import CommandMissing, TaskFailed

GRACE_S = 2.0  # between SIGTERM and SIGKILL
NOT_THERE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR)


async def start(
    words: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    out: BinaryIO | int = DEVNULL,
    err: BinaryIO | int = DEVNULL,
    keep: Collection[int] = (),
) -> Process:
    """Start a program in a session of its own; it inherits the descriptors in `keep`.

    Raises CommandMissing when the program is not there, TaskFailed when it cannot be started.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *words, cwd=cwd, env=environ, stdin=DEVNULL, stdout=out, stderr=err, start_new_session=True, pass_fds=keep
        )
    except OSError as error:
        reason = f"cannot run {words[0]!r}: {error.strerror}"
        if error.errno in NOT_THERE and cwd.is_dir():
            raise CommandMissing(reason, stderr_tail="") from error
        raise TaskFailed(reason if cwd.is_dir() else f"there is no folder {cwd}", stderr_tail="") from error


async def ends_within(process: Process, seconds: float) -> bool:
    """Whether the process has ended after at most so many seconds."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def stop(process: Process) -> None:
    """SIGTERM to the group, and time to obey."""
    signal_group(process, signal.SIGTERM)
    await ends_within(process, GRACE_S)


@contextlib.asynccontextmanager
async def end_of_group(process: Process) -> AsyncIterator[None]:
    """However the body ends, nobody of the process's group outlives it, and the leader is reaped."""
    try:
        yield
    finally:
        signal_group(process, signal.SIGKILL)
        await process.wait()


def signal_group(process: Process, number: signal.Signals) -> None:
    """Send a signal to all of the group."""
    # The leader has a session of its own, so its process id is the group's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def has_ended(process: Process) -> bool:
    """Whether the leader has ended, even if nobody has reaped it yet."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def memory_of(process: Process) -> int:
    """Resident memory in bytes of all of the group; 0 where there is no /proc."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            # pid (name) state parent group …; field 24 of proc(5) is the resident set, in pages
            after_name = stat.read_text().rpartition(")")[2].split()
            pages += int(after_name[21]) if int(after_name[2]) == process.pid else 0
    return pages * os.sysconf("SC_PAGE_SIZE")
