"""Failed logins, counted per address; in memory, one count per worker.

Tokens are too long to be guessed; this keeps a guesser from filling the log and the processors.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FAILURES = 10
WINDOW_S = 60.0
ADDRESSES = 1024  # remembered at once; beyond, the one that has been silent for longest is forgotten


class Throttle:
    """Refuses an address that failed FAILURES times, until its first failure is WINDOW_S old."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address → first failure, how many
        self._lock = threading.Lock()

    def refuses(self, address: str) -> bool:
        """True when this address has to wait."""
        with self._lock:
            since, count = self._failed.get(whose(address), (0.0, 0))
            return count >= FAILURES and self._clock() - since < WINDOW_S

    def failed(self, address: str) -> None:
        """A wrong token came from this address."""
        key, now = whose(address), self._clock()
        with self._lock:
            since, count = self._failed.pop(key, (now, 0))
            self._failed[key] = (since, count + 1) if now - since < WINDOW_S else (now, 1)
            while len(self._failed) > ADDRESSES:
                self._failed.popitem(last=False)

    def __len__(self) -> int:
        return len(self._failed)


def whose(address: str) -> str:
    """The address, or the /64 network of an IPv6 address: all of that is one household's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address
