"""Nobody whom the sandbox started, or whom they started, may outlive it: also scripts whose client was killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PROC = Path("/proc")
PATIENCE_S = 1.0
LOOK_S = 0.01


def adopt_orphans() -> None:
    """From now on a descendant whose parent dies becomes our child, and not init's. Linux only; else nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """SIGKILL to all that are left, again and again, since they may start others meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := descendants()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(LOOK_S)


def descendants(of: int | None = None) -> list[int]:
    """The process ids of a process's children, their children and so on (ours); none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir() if PROC.exists() else ():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if folder.name.isdigit():
                # pid (name) state parent …; a name may hold spaces and parentheses
                _, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                children.setdefault(int(parent), []).append(int(folder.name))
    found, unseen = [], [of or os.getpid()]
    while unseen:
        below = children.get(unseen.pop(), [])
        found += below
        unseen += below
    return found


def reap() -> None:
    """Take leave of children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue
