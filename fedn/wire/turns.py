"""Who writes to which part of a blob."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from fedn.errors import TransferFailed


class Turns:
    """One stream writes to a digest's part at a time.

    Different senders of the same bytes wait for each other. A newer stream of the same sender takes
    over from its older one, which is most likely a dead connection that nobody has noticed yet.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._streams: dict[tuple[str, str], asyncio.Timeout] = {}

    @asynccontextmanager
    async def take(self, digest: str, sender: str) -> AsyncIterator[None]:
        """Wait for the turn and hold it; TransferFailed inside, wherever it waits, when it is taken over."""
        key = (digest, sender)
        if (older := self._streams.get(key)) is not None:
            older.reschedule(asyncio.get_running_loop().time())
        lock = self._locks.setdefault(digest, asyncio.Lock())
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._streams[key] = scope
                async with lock:
                    yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise TransferFailed("a newer stream of the same sender has taken over") from None
        finally:
            if self._streams.get(key) is scope:
                del self._streams[key]
