"""What a peer's server notes, one line of JSON each: the start, then each round's end, and what had come."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.peers.stage import PeerFailedError, Stage, Work


@dataclass(frozen=True)
class Tick:
    """The time, how many updates the round had, and the value of the new model's first element."""

    at: float
    replies: int
    value: float | None


def ticks(file: Path) -> list[Tick]:
    """All lines that are complete."""
    if not file.exists():
        return []
    return [Tick(**json.loads(line)) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def rounds(file: Path, work: Work, stage: Stage) -> list[float]:
    """Each round's seconds, when all are over. They may take as long as the whole measurement may."""

    def noted() -> list[Tick] | None:
        found = ticks(file)
        return found if len(found) > work.rounds else None

    return round_seconds(stage.until(noted, "the rounds are run", within=None), work)


def round_seconds(noted: list[Tick], work: Work) -> list[float]:
    """Each round's seconds. Raises PeerFailedError when an average is not that of all clients' updates."""
    step = (work.clients + 1) / 2  # the mean of 1 … n
    for number, tick in enumerate(noted):
        due = 0 if number == 0 else work.clients
        right = tick.value is not None and math.isclose(tick.value, number * step, rel_tol=1e-5, abs_tol=1e-6)
        if tick.replies != due or not right:
            raise PeerFailedError(f"round {number} averaged {tick.replies} updates of {due} to {tick.value}")
    return [after.at - before.at for before, after in pairwise(noted)]
