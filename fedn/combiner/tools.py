"""What the phases of a round work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedn.aggregation.kernel import Kernel
from fedn.combiner.journal import Journal
from fedn.combiner.roster import Roster
from fedn.combiner.shelf import Shelf


@dataclass(frozen=True)
class Tools:
    """The combiner's tools: who is here, where blobs rest, what was promised, the clock."""

    roster: Roster
    shelf: Shelf
    journal: Journal
    scratch: Path
    clock: Callable[[], float]
    reconnect_grace_s: float
    threads: int | None
    kernel: Kernel | None  # with numpy if None
