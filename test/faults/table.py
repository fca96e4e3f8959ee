"""The table that `make faults` prints: one line a row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from test.faults.play import Found
from test.faults.rows import WHO, Row, rows

WHEN_WIDTH = max(len(row.when) for row in rows())
WHO_WIDTH = max(len(who) for who in WHO) + len(" (process)")
TICK, CROSS = click.style("✓", fg="green"), click.style("✗", fg="red")


def heading() -> str:
    """The line above the rows."""
    return f"  {'when':<{WHEN_WIDTH}}  {'who':<{WHO_WIDTH}}  {'how':<8}  {'expected':<15}  {'found':<15}  {'s':>5}"


def line(row: Row, found: Found, logs: Path) -> str:
    """One row, and below it what is wrong."""
    who = row.who + (" (process)" if row.isolation == "process" else "")
    what = f"model {found.model[:9]}" if found.holds else "DIFFERS"
    said = f"{row.when:<{WHEN_WIDTH}}  {who:<{WHO_WIDTH}}  {row.how:<8}  {'the same model':<15}  {what:<15}"
    text = f"{TICK if found.holds else CROSS} {said}  {found.seconds:5.1f}"
    return "\n".join(
        [text, *(f"    {sentence}" for sentence in found.wrong), *([] if found.holds else [f"    {logs}"])]
    )


def summary(found: Iterable[Found], seconds: float) -> str:
    """The last line."""
    everything = list(found)
    wrong = sum(not each.holds for each in everything)
    verdict = "all as expected" if not wrong else f"{wrong} not as expected"
    return f"{len(everything)} rows, {verdict}, in {int(seconds // 60)} min {seconds % 60:.0f} s"
