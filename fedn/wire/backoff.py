"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(
    first: float = 0.2, factor: float = 2.0, most: float = 10.0, *, rng: random.Random | None = None
) -> Iterator[float]:
    """Seconds to wait before each further attempt, without end: exponential, with full jitter.

    The n-th is drawn evenly from 0 to ``min(most, first * factor**n)``, so that the many peers of a
    restarted server do not all come back at the same moment.
    """
    rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
    ceiling = first
    while True:
        yield rng.uniform(0.0, min(most, ceiling))
        ceiling = min(most, ceiling * factor)
