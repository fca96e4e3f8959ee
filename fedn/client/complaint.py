"""Say why there is no seat: at once, and again from time to time; not at each attempt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

REMINDER_S = 60.0


class Complaint:
    """What is wrong now, and when it was said last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = ""
        self._said_at = 0.0

    def level(self, text: str) -> int:
        """How loudly to log this: what was said within the last minute is for debugging only."""
        now = self._clock()
        if text == self._said and now < self._said_at + REMINDER_S:
            return logging.DEBUG
        self._said, self._said_at = text, now
        return logging.WARNING

    def settle(self) -> None:
        """It is over: the same, if it comes again, is news."""
        self._said = ""
