"""The anonymous memory of a process, watched while it works: the page cache is not counted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """Bytes of RssAnon: when the watch began, and the most that was seen since."""

    at_first: int
    most: int

    @property
    def grown(self) -> int:
        """Bytes that were added at most."""
        return self.most - self.at_first


@contextmanager
def peak(pid: int | None = None, *, every_s: float = 0.005) -> Iterator[Peak]:
    """Watch a process, by default this one, until the block ends."""
    of = os.getpid() if pid is None else pid
    seen, ended = Peak(anonymous(of), anonymous(of)), threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            seen.most = max(seen.most, anonymous(of))

    watcher = threading.Thread(target=watch, name="watch-memory")
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
        seen.most = max(seen.most, anonymous(of))


def anonymous(pid: int) -> int:
    """RssAnon in bytes."""
    return _status(pid)["RssAnon"]


def resident(pid: int) -> int:
    """VmRSS in bytes: anonymous memory, and the pages of libraries and files that the process has mapped."""
    return _status(pid)["VmRSS"]


def high_water(pid: int) -> int:
    """At most so much was anonymous at any time since the process began, in bytes: the kernel's own peak.

    The kernel keeps a peak of all resident pages only; of these, the pages of files hardly change.
    """
    found = _status(pid)
    return found["VmHWM"] - found["RssFile"] - found["RssShmem"]


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in sizes}
