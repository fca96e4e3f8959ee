"""Progress, not the wall clock, decides whether a transfer is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fedn.errors import TransferStalled
from fedn.wire.settings import TransferSettings

T = TypeVar("T")


class Pace:
    """The patience of one end with the other.

    Waiting for the other end uses patience up, bytes that moved give it back at ``min_rate_bytes_s``,
    and there is never more of it than one chunk takes at that rate. So silence is cut by the clock, a
    trickle of tiny chunks cannot hold a place for ever, and a transfer above the rate is never cut. Time
    that this end spends on its own disk does not count. What has left this end and perhaps not arrived
    has its time as well: a sender says how many bytes that may be, ``ahead``.
    """

    def __init__(
        self,
        settings: TransferSettings,
        *,
        ahead: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = settings.min_rate_bytes_s
        self._patience = settings.chunk_bytes / self._rate
        self._most = self._patience + ahead / self._rate
        self._clock = clock

    @property
    def patience(self) -> float:
        """Seconds that the other end may still take."""
        return self._patience

    def moved(self, count: int) -> None:
        """``count`` bytes came, or went."""
        self._patience = min(self._most, self._patience + count / self._rate)

    async def of(self, step: Awaitable[T]) -> T:
        """The result of a step that the other end has to make; TransferStalled when it takes too long."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._patience):
                return await step
        except TimeoutError:
            raise TransferStalled(f"the other end moved less than {self._rate:g} bytes per second") from None
        finally:
            self._patience -= self._clock() - began
