"""How long a client waits before it asks for a seat again.

::

    no seat now       evenly drawn up to what the reducer's answer said: it knows how many clients wait
    the stream ended  at first within what the seat's answer said, so that a herd does not come all at once;
    nobody answers    then longer and longer, up to 10 s
"""

from __future__ import annotations

import random

from fedn.errors import FednError
from fedn.wire.backoff import delays

MOST_S = 60.0  # whatever the reducer says


class Waits:
    """One client's waits, without end."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._spread_s = 0.0
        self._own = delays(rng=self._rng)

    def spread(self, seconds: float) -> None:
        """Over how long the clients of this network should spread when all lose their streams at once."""
        self._spread_s = min(seconds, MOST_S)

    def scatter(self) -> float:
        """The seconds to wait when all clients are asked for the same at once."""
        return self._rng.uniform(0.0, self._spread_s)

    def welcomed(self) -> None:
        """A combiner was reached: the next waits begin short again."""
        self._own = delays(rng=self._rng)

    def after(self, error: FednError | None) -> float:
        """The seconds to wait after this error; None: the stream has ended."""
        told_s = None if error is None else error.detail.get("retry_after_s")
        if told_s is None:
            return max(next(self._own), self.scatter())
        self._own = delays(rng=self._rng)
        return self._rng.uniform(0.0, min(told_s, MOST_S))
