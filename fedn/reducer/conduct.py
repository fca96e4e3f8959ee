"""One combiner's part of a round, over restarts of the combiner: tried again until it stays away for too long.

A combiner that was started again may listen at another port, so each attempt looks up where it is.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from fedn.errors import CombinerUnreachable, FednError, Unauthenticated
from fedn.reducer.combiner_link import CombinerLink
from fedn.wire.backoff import delays
from fedn.wire.transfer import until_done
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

# Where a combiner is: as known (True), or as the store says now, for which it may wait.
Find: TypeAlias = "Callable[[str, bool], Awaitable[CombinerLink]]"

AGAIN_S = 1.0  # at most, between two attempts: there are few combiners, and many clients wait for each


class Patience:
    """How long to try again: until nothing was heard for `seconds` after a failure."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lost_at: float | None = None
        self._ended = False
        self.heard = 0

    def hear(self, count: int) -> None:
        """There was a sign of life, such as bytes that moved."""
        self.heard += count
        self._lost_at = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What takes long here is not the combiner's fault: the reducer waits for its own store."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        finally:
            if self._lost_at is not None:
                self._lost_at += clock() - began

    def end(self) -> None:
        """Try no more: the round is aborted."""
        self._ended = True

    def over(self) -> bool:
        """True when a failure has lasted for too long."""
        if self._ended:
            return True
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            self._lost_at = now
        return now - self._lost_at > self._seconds


async def conduct(
    find: Find,
    combiner: str,
    request: Callable[[], control.StartRoundRequest],
    files: Mapping[str, Path],
    patience: Patience,
) -> control.RoundOutcome:
    """Run one round at a combiner and return its outcome; each attempt asks for the order, with the time that is left.

    Raises CombinerUnreachable when it stays away, StaleTerm when another leads, or its refusal.
    """
    outcome, known = control.RoundOutcome(), first_only()

    async def attempt() -> None:
        with patience.paused():
            link = await find(combiner, next(known))
        outcome.CopyFrom(await link.run_round(combiner, request(), files, patience.hear))

    await _again_and_again(attempt, f"round {request().round_id} at {combiner}", patience)
    return outcome


async def fetch(find: Find, combiner: str, digest: str, size: int, destination: Path, patience: Patience) -> None:
    """Take a combiner model, verified. Raises CombinerUnreachable, TransferFailed, or the refusal."""
    known = first_only()

    async def attempt() -> None:
        with patience.paused():
            link = await find(combiner, next(known))
        await link.fetch(digest, size, destination, patience.hear)

    await _again_and_again(attempt, f"{digest[:12]}… from {combiner}", patience)


def first_only() -> Iterator[bool]:
    """True, then False without end."""
    return itertools.chain([True], itertools.repeat(False))


async def _again_and_again(attempt: Callable[[], Awaitable[None]], what: str, patience: Patience) -> None:
    async def told() -> None:
        try:
            await attempt()
        except Unauthenticated as error:  # its token is being changed: it is up only if it knew the reducer's before
            log.warning("%s: %s", what, error)
            raise CombinerUnreachable(error.reason) from error
        except FednError as error:
            log.warning("%s: %s", what, error)
            raise

    waits = functools.partial(delays, most=AGAIN_S)
    await until_done(told, give_up=patience.over, progressed=lambda: patience.heard, waits=waits)
