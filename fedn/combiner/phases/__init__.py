"""The phases of a round at a combiner; each is one file and returns the next.

::

    Stage ──▶ Collect ──▶ Fold ──▶ Publish ──▶ (done)
      │          │ nothing to fold, or validation    ▲
      │          └───────────────────────────────────┤
      └── model or package not here ──▶ outcome with a code

Stage    ends former rounds, opens the round's model, reads its schema, takes up what the journal holds.
Collect  gives every participant its task and waits for an answer of each, for the clock, or for an abort.
Fold     sums the accepted updates, exactly.
Publish  puts the combiner model on the shelf and tells the reducer.

A phase that finds the disk full is run again until there is room: all that it does comes to the same when done twice.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from fedn.combiner.round import Round
from fedn.combiner.tools import Tools
from fedn.errors import DiskFull, FednError, no_room
from fedn.wire.backoff import delays
from fedn.wire.threads import to_the_end

log = logging.getLogger(__name__)

MOST_S = 2.0  # between two attempts to write to a full disk


class Phase(Protocol):
    """One step of a round."""

    name: str
    tools: Tools

    async def run(self) -> Phase | None:
        """Do the phase's work; return the next phase, or None at the end."""


async def with_room(phase: Phase, round_: Round) -> Phase | None:
    """Do the phase's work, again while the disk is full, for at most another time of the round. Raises DiskFull."""
    waits, until, clock = delays(most=MOST_S), None, asyncio.get_running_loop().time
    while True:
        try:
            return await phase.run()
        except (OSError, DiskFull) as told:
            error = of_our_disk(told)
        await to_the_end(phase.tools.shelf.make_room)
        if until is None:
            until = clock() + round_.order.round_timeout_s
            log.warning("round %s waits in %s: %s", round_.order.round_id, phase.name, error)
        if clock() >= until or round_.aborted is not None:
            raise error
        await asyncio.sleep(next(waits))


def of_our_disk(told: OSError | DiskFull) -> DiskFull:
    """The full disk that was told of; what else the system says is raised."""
    if isinstance(told, DiskFull):
        return told
    if not no_room(told):
        raise told
    return DiskFull(f"the combiner's disk is full: {told.strerror}")


async def drive(round_: Round, first: Phase) -> None:
    """Run the phases one after another; whatever goes wrong becomes the round's outcome (I8)."""
    phase: Phase | None = first
    try:
        while phase is not None:
            round_.enter(phase.name)
            phase = await with_room(phase, round_)
    except FednError as error:
        level, what = (logging.INFO, "ends here") if round_.goes_on else (logging.WARNING, "failed")
        log.log(level, "round %s %s: %s", round_.order.round_id, what, error)
        await round_.close()
        round_.finish(code=error.code, reason=error.reason)
    except Exception as error:  # the outermost loop of a round: it must end with a reason, not silently
        log.exception("round %s failed", round_.order.round_id)
        await round_.close()
        round_.finish(code=FednError.code, reason=f"{type(error).__name__}: {error}")
