"""The table that `make faults` prints: one line a row."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

import click

from test.faults.losses import LOSSES, Loss
from test.faults.play import Found
from test.faults.rows import Row, rows

Fault: TypeAlias = Row | Loss

EVERYTHING: tuple[Fault, ...] = (*rows(), *LOSSES)
WHEN, VICTIM, HOW, WANTED = (
    max(len(str(getattr(fault, name))) for fault in EVERYTHING) for name in ("when", "victim", "how", "wanted")
)
FOUND = 18
TICK, CROSS = click.style("✓", fg="green"), click.style("✗", fg="red")


def columns(when: str, victim: str, how: str, wanted: str, found: str, seconds: str) -> str:
    """One line, aligned."""
    return f"{when:<{WHEN}}  {victim:<{VICTIM}}  {how:<{HOW}}  {wanted:<{WANTED}}  {found:<{FOUND}}  {seconds:>5}"


def heading() -> str:
    """The line above the rows."""
    return click.style(f"  {columns('when', 'who', 'how', 'expected', 'found', 's')}", bold=True)


def line(fault: Fault, found: Found, logs: Path) -> str:
    """One row, and below it what is wrong."""
    what = columns(fault.when, fault.victim, fault.how, fault.wanted, found.outcome, f"{found.seconds:.1f}")
    if found.holds:
        return f"{TICK} {what}"
    return "\n".join([f"{CROSS} {what}", *(f"    {sentence}" for sentence in found.wrong), f"    logs: {logs}"])


def summary(found: Collection[Found], seconds: float) -> str:
    """The last line."""
    wrong = sum(not each.holds for each in found)
    verdict = "all as expected" if not wrong else f"{wrong} NOT as expected"
    return f"{len(found)} rows, {verdict}, in {int(seconds // 60)} min {seconds % 60:.0f} s"
