"""Admission: a few transfers at a time, first come, first served."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Admission:
    """``async with admission:`` waits for one of ``at_once`` places and holds it.

    Three transfers at once are faster than ten, and need a third of the memory. Whoever is cancelled
    while waiting leaves the queue; whoever is cancelled while running gives the place on.
    """

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._running = 0

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return self._waiting

    @property
    def running(self) -> int:
        """How many hold a place."""
        return self._running

    async def __aenter__(self) -> None:
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._running += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running -= 1
        self._places.release()
