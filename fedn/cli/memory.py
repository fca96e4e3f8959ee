"""The most memory that a process and its descendants have held, looked at while they run. Linux only; else nothing."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from fedn.cli.descendants import descendants

PROC = Path("/proc")
EVERY_S = 0.25
RSS = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass
class PeakMemory:
    """Resident memory in bytes, page cache not counted: of the process itself, of a descendant, of all at a time."""

    pid: int
    own: int = 0
    largest_descendant: int = 0
    descendants_together: int = 0
    _looked: float = 0.0

    def look(self) -> None:
        """Look again, if it is time to. The peaks of processes come from the kernel; their sum is as we saw it."""
        if time.monotonic() - self._looked < EVERY_S:
            return
        self._looked = time.monotonic()
        self.own = max(self.own, _read(self.pid, PEAK))
        below = descendants(self.pid)
        self.largest_descendant = max([self.largest_descendant, *(_read(pid, PEAK) for pid in below)])
        self.descendants_together = max(self.descendants_together, sum(_read(pid, RSS) for pid in below))

    def as_json(self) -> dict[str, int]:
        """The peaks in bytes."""
        return {
            "process": self.own,
            "largest_worker": self.largest_descendant,
            "workers_together": self.descendants_together,
        }


def _read(pid: int, line: re.Pattern[str]) -> int:
    with contextlib.suppress(OSError):  # it has ended
        found = line.search((PROC / str(pid) / "status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
