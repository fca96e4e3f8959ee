"""Processes of a role, and the processor time that they have taken."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its children: gunicorn and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def seconds(pids: Iterable[int]) -> float:
    """Of the processor, in the kernel and outside it."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])  # utime and stime, the 14th and 15th
    return total / TICKS_S
