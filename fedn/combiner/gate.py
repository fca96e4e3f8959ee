"""Who may write a round's answers, and when none may.

::

    client a ──▶ [ journal ]          many at once, one for each client,
    client b ──▶ [ journal ]          so that one sync serves them all
    close, retire ──▶ waits until they are out; whoever comes meanwhile waits, and looks again
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Gate:
    """Makes *accepting an update* and *closing the round* exclusive."""

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def answering(self, client_id: str) -> AsyncIterator[None]:
        """Around what writes an answer of this client; the round does not change meanwhile."""
        turn = self._turns.setdefault(client_id, asyncio.Lock())
        async with turn:
            async with self._changing:
                self._inside += 1
                self._empty.clear()
            try:
                yield
            finally:
                self._inside -= 1
                if not self._inside:
                    self._empty.set()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Around what changes the round: nobody writes an answer meanwhile."""
        async with self._changing:
            await self._empty.wait()
            yield
