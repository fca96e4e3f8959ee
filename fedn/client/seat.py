"""A client's seat: where discovery sent it, and whether it should still be there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fedn.errors import FednError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seat:
    """What discovery answered: the combiner to dial, and the part of the data that is this client's.

    All clients spread over `spread_s` when they come at once.
    """

    combiner: str
    address: str
    part: int
    name: str
    spread_s: float


class SecondThoughts:
    """A combiner that is cut off from the reducer asks its clients to look for another; the stream stays meanwhile."""

    def __init__(self, ask: Callable[[], Awaitable[Seat]], seat: Seat) -> None:
        self._ask = ask
        self._seat = seat
        self._scope = asyncio.timeout(None)
        self._thinking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def leaving(self) -> AsyncIterator[None]:
        """Around the work at this seat: it ends early when discovery names another combiner."""
        try:
            async with self._scope:
                yield
        except TimeoutError:
            if not self._scope.expired():
                raise
        finally:
            if self._thinking is not None:
                self._thinking.cancel()
                await asyncio.gather(self._thinking, return_exceptions=True)

    def think(self, reason: str) -> None:
        """Ask discovery, unless that is under way."""
        if self._thinking is None or self._thinking.done():
            log.info("%s; asking the reducer", reason)
            self._thinking = asyncio.create_task(self._think())

    async def _think(self) -> None:
        try:
            named = await self._ask()
        except FednError as error:
            log.info("staying at combiner %s: %s", self._seat.combiner, error)
            return
        if (named.combiner, named.address) == (self._seat.combiner, self._seat.address):
            log.info("staying at combiner %s: the reducer names no other", self._seat.combiner)
            return
        log.info("leaving combiner %s: the reducer names %s", self._seat.combiner, named.combiner)
        self._scope.reschedule(asyncio.get_running_loop().time())
