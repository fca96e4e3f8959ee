"""The reducer's patience with its stores: what leads does not fail because a database or an object store is away.

A piece of work that a store's absence broke off is done again, from its beginning, until it ends: so all that is
given here must come to the same when it is done twice. Only a leader waits; who asks over REST is told at once.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from fedn.errors import CombinerUnreachable, DiskFull, StoreAway, Unavailable, no_room
from fedn.wire.backoff import delays
from fedn.wire.threads import to_the_end

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
MOST_S = 3.0  # between two looks
REMIND_S = 60.0


def full(error: OSError) -> DiskFull:
    """The same, of this machine's own disk; what else the system says is raised."""
    if not no_room(error):
        raise error
    return DiskFull(f"{error.filename or 'the reducer'}: {error.strerror}")


class Stores:
    """One worker's waiting for the stores, in its event loop."""

    def __init__(self, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._waiting = 0
        self._said_at = -math.inf
        self._since = 0.0
        self._waited_s = 0.0

    @property
    def waited_s(self) -> float:
        """How long anything has waited, in all."""
        return self._waited_s + (self._clock() - self._since if self._waiting else 0.0)

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work`, in a thread, again while a store is away. Raises StoreAway when the patience is over."""
        return await self._again(functools.partial(to_the_end, functools.partial(work, *args, **kwargs)))

    async def do_at_last(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same without an end, for what cannot be left undone; who waits can be cancelled."""
        return await self._again(functools.partial(to_the_end, functools.partial(work, *args, **kwargs)), math.inf)

    async def ask(self, question: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """`question` in this event loop, again while a store is away. Raises StoreAway."""
        return await self._again(functools.partial(question, *args, **kwargs))

    async def _again(self, attempt: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
        patience_s = self._patience_s if patience_s is None else patience_s
        began: float | None = None
        waits = delays(most=MOST_S)
        try:
            while True:
                try:
                    return await attempt()
                except CombinerUnreachable:
                    raise  # no store
                except (Unavailable, OSError) as told:
                    error = told if isinstance(told, Unavailable) else full(told)
                    now = self._clock()
                    if began is None:
                        began = now
                        self._one_more(now)
                    if now - began > patience_s:
                        raise StoreAway(f"{error.reason}; waited for {patience_s:g} s") from error
                    self._say(error, now)
                await asyncio.sleep(next(waits))
        finally:
            if began is not None:
                self._one_less()

    def _say(self, error: Unavailable, now: float) -> None:
        """At once, then rarely."""
        if now - self._said_at >= REMIND_S:
            self._said_at = now
            log.warning("waiting: %s", error)

    def _one_more(self, now: float) -> None:
        if not self._waiting:
            self._since = now
        self._waiting += 1

    def _one_less(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            waited_s = self._clock() - self._since
            self._waited_s += waited_s
            self._said_at = -math.inf
            log.info("waited for %.1f s", waited_s)
