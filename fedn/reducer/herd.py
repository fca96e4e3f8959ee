"""When clients should ask again: the more there are, the later, so that a herd comes back without a crush."""

from __future__ import annotations

import time
from collections.abc import Callable

from fedn.errors import Unavailable
from fedn.storage.state import State

CLIENTS_PER_S = 200  # that ask, where all wait for a combiner; half a core of the reducer
LEAST_S = 1.0
COUNTED_S = 2.0


class Herd:
    """The number of known clients, counted now and then, and what follows from it."""

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._count = 0
        self._counted_at = -COUNTED_S

    def spread_s(self) -> float:
        """Over how many seconds they should spread when all lose their streams at once."""
        now = self._clock()
        if now - self._counted_at >= COUNTED_S:
            try:
                self._count = self._state.count("clients")
            except Unavailable:  # what was counted before will do
                pass
            else:
                self._counted_at = now
        return self._count / CLIENTS_PER_S

    def retry_after_s(self) -> float:
        """Within how many seconds a client that got no seat should ask again."""
        return max(LEAST_S, self.spread_s())
