"""A broadcast wake-up: whoever waits is told that something changed, and looks for itself."""

from __future__ import annotations

import asyncio


class Pulse:
    """`beat()` wakes everyone who holds the future of `next()`; nothing is remembered between beats.

    Take `next()` in the same step in which the condition was found false, and no beat is missed.
    """

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def next(self) -> asyncio.Future[None]:
        """The future that the next beat resolves. It is shared: wait on it, do not cancel it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def beat(self) -> None:
        """Wake all who wait."""
        waiting, self._next = self._next, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
