"""Tell the reducer where this combiner is: at the start, and again and again, so that either may restart (I9)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import httpx

from fedn.errors import AccessRefused, FednError, NameTaken, Unauthenticated, Unavailable
from fedn.storage.readiness import Readiness
from fedn.wire.backoff import delays
from fedn.wire.rest import call

log = logging.getLogger(__name__)

AGAIN_S = 15.0
MOST_S = 2.0  # between attempts while the reducer does not answer: there are few combiners, and many clients wait


async def announce(
    client: httpx.AsyncClient,
    *,
    name: str,
    identity: str,
    address: str,
    readiness: Readiness,
    orphaned: Callable[[float], None],
    orphan_s: float,
    renews: bool = False,
) -> None:
    """Announce for ever. Raises NameTaken when another combiner goes by this name, AccessRefused for a wrong token.

    With a token that `renews`, one that is refused is waited out: the file will have another. `orphaned` is told, each
    time that another `orphan_s` seconds have passed, for how many the reducer has been away.
    """
    waits, absence = delays(most=MOST_S), Absence(orphaned, orphan_s)
    known = False
    while True:
        try:
            await call(client, "POST", "/add", json={"name": name, "identity": identity, "address": address})
        except (Unavailable, Unauthenticated) as error:  # the reducer, its store, or a token that changes
            if isinstance(error, Unauthenticated) and not renews:
                raise
            log.warning("%s", error)
            readiness.not_ready(str(error))
            absence.goes_on()
            known = False
            await asyncio.sleep(next(waits))
            continue
        except (NameTaken, AccessRefused):
            raise
        except FednError as error:
            log.warning("the reducer did not take the announcement: %s", error)
            readiness.not_ready(f"the reducer did not take the announcement: {error}")
            await asyncio.sleep(AGAIN_S)
            continue
        if not known:
            log.info("the reducer at %s knows combiner %s at %s", client.base_url, name, address)
        readiness.ready()
        absence.ends()
        known, waits = True, delays(most=MOST_S)
        await asyncio.sleep(min(AGAIN_S, orphan_s))


class Absence:
    """How long the reducer has been away; tells it each time another `orphan_s` have passed."""

    def __init__(self, orphaned: Callable[[float], None], orphan_s: float) -> None:
        self._orphaned = orphaned
        self._orphan_s = orphan_s
        self._since: float | None = None
        self._told = 0.0

    def goes_on(self) -> None:
        """It did not answer."""
        now = time.monotonic()
        if self._since is None:
            self._since = self._told = now
        if now - self._told >= self._orphan_s:
            self._told = now
            self._orphaned(now - self._since)

    def ends(self) -> None:
        """It is back."""
        self._since = None
