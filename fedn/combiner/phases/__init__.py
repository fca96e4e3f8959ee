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
"""

from __future__ import annotations

import logging
from typing import Protocol

from fedn.combiner.round import Round
from fedn.errors import FednError

log = logging.getLogger(__name__)


class Phase(Protocol):
    """One step of a round."""

    name: str

    async def run(self) -> Phase | None:
        """Do the phase's work; return the next phase, or None at the end."""


async def drive(round_: Round, first: Phase) -> None:
    """Run the phases one after another; whatever goes wrong becomes the round's outcome (I8)."""
    phase: Phase | None = first
    try:
        while phase is not None:
            round_.enter(phase.name)
            phase = await phase.run()
    except FednError as error:
        log.warning("round %s failed: %s", round_.order.round_id, error)
        await round_.close()
        round_.finish(code=error.code, reason=error.reason)
    except Exception as error:  # the outermost loop of a round: it must end with a reason, not silently
        log.exception("round %s failed", round_.order.round_id)
        await round_.close()
        round_.finish(code=FednError.code, reason=f"{type(error).__name__}: {error}")
