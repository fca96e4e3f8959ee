"""The combiners and clients that are there now: asked of the combiners themselves, not of the store."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fedn.errors import AccessRefused, CombinerUnreachable, FednError
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.sessions import ACTIVE
from fedn.storage.state import State
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

RECENT_S = 0.5


@dataclass(frozen=True)
class Seen:
    """One combiner of the list; `report` is None when it does not answer, and `reason` says why."""

    name: str
    identity: str
    address: str
    report: control.ReportReply | None
    reason: str = ""

    @property
    def up(self) -> bool:
        """True when it takes new clients."""
        return self.report is not None and not self.report.draining

    def rounds(self) -> Sequence[control.RunningRound]:
        """The rounds that it has not been told the end of."""
        return self.report.rounds if self.report is not None else []

    def awaits(self, round_id: str) -> list[str]:
        """The ids of the clients whose answers in this round it still waits for."""
        return [client for r in self.rounds() if r.round_id == round_id for client in r.progress.busy]

    def clients(self) -> list[ConnectedClient]:
        """The clients that are attached to it."""
        attached = self.report.clients if self.report is not None else []
        return [ConnectedClient(c.client_id, c.name, c.part, self.name, frozenset(c.encodings)) for c in attached]


def connected(state: State, seen: Sequence[Seen]) -> list[ConnectedClient]:
    """The clients that can be given work, each once.

    A combiner that was cut off may still take one for its own that is with another by now: it is where discovery sent
    it last (I2).
    """
    places: dict[str, list[ConnectedClient]] = {}
    for combiner in seen:
        if combiner.up:
            for client in combiner.clients():
                places.setdefault(client.client_id, []).append(client)
    return [found[0] if len(found) == 1 else _where_it_was_sent(state, found) for found in places.values()]


def _where_it_was_sent(state: State, places: Sequence[ConnectedClient]) -> ConnectedClient:
    claim = state.get("clients", places[0].client_id) or {}
    return next((client for client in places if client.combiner == claim.get("combiner")), places[0])


class Network:
    """Links to all combiners of the state store; lives in one event loop."""

    def __init__(self, state: State, *, link: Callable[[str], CombinerLink] = CombinerLink) -> None:
        self._state = state
        self._link_to = link
        self._links: dict[str, CombinerLink] = {}
        self._found: dict[str, str] = {}
        self._seen: list[Seen] = []
        self._seen_at = -math.inf
        self._looking = asyncio.Lock()

    def link(self, address: str) -> CombinerLink:
        """The link to a combiner, made once per address."""
        if address not in self._links:
            self._links[address] = self._link_to(address)
        return self._links[address]

    async def find(self, name: str, *, known: bool = False) -> CombinerLink:
        """The link to a combiner where it is now; `known`: where it was last, which spares asking the store.

        Raises CombinerUnreachable, and Unavailable if the store is away.
        """
        if known and name in self._found:
            return self.link(self._found[name])
        entry = await asyncio.to_thread(self._state.get, "combiners", name)
        if entry is None:
            raise CombinerUnreachable(f"no combiner {name!r} has announced itself")
        self._found[name] = entry["address"]
        return self.link(entry["address"])

    async def survey(self) -> list[Seen]:
        """Ask every known combiner for its report, all at once, each with a deadline."""
        known = await asyncio.to_thread(self._state.find, "combiners", sort="_id")
        # The links of former addresses are closed when the last who uses one lets go of it.
        addresses = {c["address"] for c in known}
        self._links = {address: link for address, link in self._links.items() if address in addresses}
        self._found = {c["_id"]: c["address"] for c in known}
        seen = list(await asyncio.gather(*(self._look(c["_id"], c["identity"], c["address"]) for c in known)))
        await self._end_what_is_over(seen)
        return seen

    async def _end_what_is_over(self, seen: Sequence[Seen]) -> None:
        """End the rounds that went on without a combiner, before it is said to be up: no client trains for them."""
        for round_id in sorted({r.round_id for combiner in seen for r in combiner.rounds()}):
            document = await asyncio.to_thread(self._state.get, "rounds", round_id)
            if document is None or not await asyncio.to_thread(self._is_over, document):
                continue
            term, committed = document.get("term", 0), document["status"] == "committed"
            holders = [combiner for combiner in seen if any(r.round_id == round_id for r in combiner.rounds())]
            await asyncio.gather(*(self._end(c, term, round_id, committed=committed) for c in holders))

    async def _end(self, combiner: Seen, term: int, round_id: str, *, committed: bool) -> None:
        try:
            await self.link(combiner.address).end(term, round_id, committed=committed)
        except FednError as error:
            log.warning("ending round %s at %s: %s", round_id, combiner.name, error)

    def _is_over(self, document: dict[str, Any]) -> bool:
        """Whether a round has ended, or the session or prediction that it belongs to: then nobody will end it."""
        if document["status"] != "started":
            return True
        run = self._state.get("sessions", document["session"]) or self._state.get("predictions", document["session"])
        return run is not None and run["slot"] != ACTIVE

    async def recent(self) -> list[Seen]:
        """A survey at most RECENT_S old, shared by all who ask: a herd of clients costs one survey, not a herd."""
        async with self._looking:
            clock = asyncio.get_running_loop().time
            if clock() - self._seen_at > RECENT_S:
                self._seen = await self.survey()
                self._seen_at = clock()
            return self._seen

    async def _look(self, name: str, identity: str, address: str) -> Seen:
        try:
            report = await self.link(address).report()
        except AccessRefused as error:
            return Seen(name, identity, address, None, f"it refuses the reducer: {error.reason}")
        except CombinerUnreachable:
            return Seen(name, identity, address, None, "it does not answer")
        except FednError as error:
            return Seen(name, identity, address, None, error.reason)
        if report.combiner != name:  # another combiner has taken over the address
            return Seen(name, identity, address, None, f"at its address is combiner {report.combiner!r}")
        return Seen(name, identity, address, report, "it is draining" if report.draining else "")

    async def close(self) -> None:
        """Close all links."""
        await asyncio.gather(*(link.close() for link in self._links.values()))
        self._links.clear()
