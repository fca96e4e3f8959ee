"""The lock beside a virtual environment: exclusive for who makes or removes it, shared for all who use it.

A lock file is removed with its environment, so whoever has got the lock looks whether it is still the file's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def ready_file(folder: Path) -> Path:
    """Says that an environment is complete; its time says when it was used last."""
    return folder / "ready"


def lock_file(folder: Path) -> Path:
    """The lock of an environment."""
    return folder.with_suffix(".lock")


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[int]:
    """The exclusive lock, for the block. Raises BlockingIOError when another holds it, unless it is waited for."""
    lock = acquire(folder, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield lock
    finally:
        os.close(lock)


def share(folder: Path) -> int:
    """A descriptor that holds the shared lock until it is closed. Raises BlockingIOError while it is being made."""
    return acquire(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)


def acquire(folder: Path, how: int) -> int:
    """A descriptor of the lock file, locked."""
    while True:
        lock = os.open(lock_file(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            if os.path.samestat(os.fstat(lock), lock_file(folder).stat()):
                return lock
        except FileNotFoundError:
            pass  # removed before we had it
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
