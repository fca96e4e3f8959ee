"""Tell the reducer where this combiner is: at the start, and again and again, so that either may restart (I9)."""

from __future__ import annotations

import asyncio
import logging

import httpx

from fedn.errors import AccessRefused, FednError, NameTaken, Unauthenticated, Unavailable
from fedn.storage.readiness import Readiness
from fedn.wire.backoff import delays
from fedn.wire.rest import call

log = logging.getLogger(__name__)

AGAIN_S = 15.0
MOST_S = 2.0  # between attempts while the reducer does not answer: there are few combiners, and many clients wait


async def announce(
    client: httpx.AsyncClient, *, name: str, identity: str, address: str, readiness: Readiness, renews: bool = False
) -> None:
    """Announce for ever. Raises NameTaken when another combiner goes by this name, AccessRefused for a wrong token.

    With a token that `renews`, one that is refused is waited out: the file will have another.
    """
    waits = delays(most=MOST_S)
    known = False
    while True:
        try:
            await call(client, "POST", "/add", json={"name": name, "identity": identity, "address": address})
        except Unavailable as error:  # the reducer, or its store
            log.warning("%s", error)
            readiness.not_ready(str(error))
            known = False
            await asyncio.sleep(next(waits))
            continue
        except (NameTaken, AccessRefused) as error:
            if not (renews and isinstance(error, Unauthenticated)):
                raise
            log.warning("%s", error)
            readiness.not_ready(str(error))
            known = False
            await asyncio.sleep(next(waits))
            continue
        except FednError as error:
            log.warning("the reducer did not take the announcement: %s", error)
            readiness.not_ready(f"the reducer did not take the announcement: {error}")
            await asyncio.sleep(AGAIN_S)
            continue
        if not known:
            log.info("the reducer at %s knows combiner %s at %s", client.base_url, name, address)
        readiness.ready()
        known, waits = True, delays(most=MOST_S)
        await asyncio.sleep(AGAIN_S)
