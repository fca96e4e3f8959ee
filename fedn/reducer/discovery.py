"""Discovery: which combiner a client dials, and which part of the data is its own.

Both are claims in the client's document, made by inserting unique fields, so concurrent requests in several
workers cannot give one part twice: `part` is the lowest free number, `seat` is "<combiner>/<k>" with the lowest
free k of the combiner that has the fewest clients. `name` is unique too: the client's own, or a base and the part.
A client that comes back finds its claim again, however long it was away, unless newcomers needed parts meanwhile.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fedn.errors import AlreadyExists, BadInput, NameTaken, NoCombiner, NotFound, Unavailable, VersionConflict
from fedn.reducer.network import Seen
from fedn.reducer.sessions import ACTIVE
from fedn.storage.state import State

EXPIRY_S = 120.0  # a client that is attached nowhere and has not asked for so long has given up its part
DOUBT_S = 30.0  # and the reducer has known of it for so long
# Who was given a seat so long ago is attached by now, has asked again, or has gone away: longer than a client tries.
HANDSHAKE_S = 15.0
DECIDE_S = 5.0
NAME_LIMIT = 128


@dataclass(frozen=True)
class Request:
    """A client asks for a seat: under a name of its own, or under `name_base` and the part that it is given."""

    client_id: str
    name: str | None = None
    preferred: str | None = None
    name_base: str | None = None

    def __post_init__(self) -> None:
        if self.name and self.name_base:
            raise BadInput("name and name_base exclude each other")
        named = ("name_base", self.name_base) if self.name_base else ("name", self.name)
        for what, value in (("client_id", self.client_id), named):
            if not value or len(value) > NAME_LIMIT or not value.isprintable():
                raise BadInput(f"{what} must be 1 to {NAME_LIMIT} printable characters")


class Ages:
    """For how long claims have been as they are, as far as this process has seen it, on its monotonic clock.

    Wall clocks jump, and differ between machines. What this process has not seen for long counts as young.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def of(self, claim: dict[str, Any]) -> float:
        """Seconds since it was seen first in this version."""
        now, version = time.monotonic(), claim["_version"]
        known, since = self._since.get(claim["_id"], (None, now))
        if known != version:
            self._since[claim["_id"]] = (version, since := now)
        return now - since

    def look(self, claims: Sequence[dict[str, Any]]) -> None:
        """See all the claims that there are; forget the others."""
        there = {claim["_id"] for claim in claims}
        for gone in list(self._since):
            if gone not in there:
                self._since.pop(gone, None)
        for claim in claims:
            self.of(claim)


def assign(state: State, seen: Sequence[Seen], request: Request, *, deciding: Lock, ages: Ages) -> dict[str, Any]:
    """The client's seat: {client_id, name, part, combiner, address}.

    `deciding` is held for the requests that look at all claims: side by side they would want the same part.
    Raises NoCombiner, also while a round waits for the client at one that is away; NotFound for a preferred combiner
    that does not exist; NameTaken, or Unavailable as long as it is not clear whether the name is taken.
    """
    up = {combiner.name: combiner for combiner in seen if combiner.up}
    if not up:
        raise NoCombiner("no combiner is up" if seen else "no combiner has announced itself yet")
    if request.preferred is not None and request.preferred not in {combiner.name for combiner in seen}:
        raise NotFound(f"there is no combiner {request.preferred!r}")
    while True:
        try:
            claim = _kept(state, up, request) or _decided(state, up, seen, request, deciding, ages)
        except (AlreadyExists, VersionConflict, NotFound):
            continue  # another request took that part or seat at the same moment
        ages.of(claim)
        given = {key: claim[key] for key in ("name", "part", "combiner")}
        return {"client_id": request.client_id, "address": up[claim["combiner"]].address} | given


def _kept(state: State, up: dict[str, Seen], request: Request) -> dict[str, Any] | None:
    """The claim of a client that comes back to the combiner where it was; None when there is more to be decided.

    It costs the same however many clients there are: a herd that comes back is n times this, not n times n. Raises
    NoCombiner while a round waits for the client at one that is away.
    """
    mine = state.get("clients", request.client_id)
    if mine is not None and mine["combiner"] not in up and _round_waits(state, mine):
        raise NoCombiner(f"combiner {mine['combiner']} is away, and a round waits there for this client")
    if mine is None or mine["name"] != (request.name or f"{request.name_base}{mine['part']}"):
        return None
    if _choose(up, (), mine, request.preferred) != mine["combiner"] and not _stays(state, up, mine):
        return None
    return state.replace("clients", mine | {"missed": False})


def _decided(
    state: State, up: dict[str, Seen], seen: Sequence[Seen], request: Request, deciding: Lock, ages: Ages
) -> dict[str, Any]:
    if not deciding.acquire(timeout=DECIDE_S):
        raise Unavailable("too many clients ask for a seat at once")
    try:
        reports = [combiner.report for combiner in seen if combiner.report is not None]
        attached = {client.client_id for report in reports for client in report.clients}
        return _claim(state, up, attached, request, ages)
    finally:
        deciding.release()


def _claim(state: State, up: dict[str, Seen], attached: set[str], request: Request, ages: Ages) -> dict[str, Any]:
    claims = state.find("clients")
    ages.look(claims)
    mine = next((claim for claim in claims if claim["_id"] == request.client_id), None)
    others = [claim for claim in claims if claim["_id"] != request.client_id]
    if request.name is not None:
        others = _without_name(state, others, request.name, attached, ages)
    if mine is None:  # one that comes back takes nothing from anyone, however long all were away
        others = _without_expired(state, others, attached, ages)
    part = mine["part"] if mine is not None else _lowest_free({claim["part"] for claim in others})
    name = request.name or f"{request.name_base}{part}"
    others = _without_name(state, others, name, attached, ages)
    preferred = None if mine is not None and _stays(state, up, mine) else request.preferred
    combiner = _choose(up, others, mine, preferred)
    stays = mine is not None and mine["combiner"] == combiner
    seat = mine["seat"] if mine is not None and stays else _free_seat(combiner, others)
    asked = {"name": name, "combiner": combiner, "seat": seat, "missed": False}
    if mine is not None:
        return state.replace("clients", mine | asked)
    return state.insert("clients", {"_id": request.client_id, "part": part} | asked)


def _without_name(
    state: State, others: list[dict[str, Any]], name: str, attached: set[str], ages: Ages
) -> list[dict[str, Any]]:
    """Delete another identity's claim on the name; return the other claims.

    Raises NameTaken, or Unavailable while its holder may be on its way: were its part given to another now, two would
    train on it.
    """
    for holder in (claim for claim in others if claim["name"] == name):
        if holder["_id"] in attached:
            raise NameTaken(f"another client is connected under the name {name!r}")
        if ages.of(holder) < HANDSHAKE_S:
            raise Unavailable(f"another client was given a seat under the name {name!r} a moment ago")
        state.delete("clients", holder["_id"], version=holder["_version"])
    return [claim for claim in others if claim["name"] != name]


def _lowest_free(taken: set[int]) -> int:
    return next(k for k in itertools.count() if k not in taken)


def _stays(state: State, up: dict[str, Seen], mine: dict[str, Any]) -> bool:
    """True while a round waits for the client at its combiner, which is up: no preference moves it away."""
    return mine["combiner"] in up and _round_waits(state, mine)


def _round_waits(state: State, mine: dict[str, Any]) -> bool:
    """True while a round is running that expects the client at the combiner where it was: it must not move away."""
    active = [*state.find("sessions", where={"slot": ACTIVE}), *state.find("predictions", where={"slot": ACTIVE})]
    for run in active:
        for begun in state.find("rounds", where={"session": run["_id"], "status": "started"}):
            if mine["combiner"] not in begun.get("lost", ()) and any(
                (p["client_id"], p["combiner"]) == (mine["_id"], mine["combiner"]) for p in begun["participants"]
            ):
                return True
    return False


def _choose(
    up: dict[str, Seen], others: Sequence[dict[str, Any]], mine: dict[str, Any] | None, preferred: str | None
) -> str:
    """The preferred combiner if it is up; else where the client was; else the one with the fewest clients."""
    if preferred is not None and preferred in up:
        return preferred
    if mine is not None and mine["combiner"] in up:
        return str(mine["combiner"])
    packed = Counter(dict.fromkeys(up, 0))
    packed.update(claim["combiner"] for claim in others if claim["combiner"] in up)
    return min(packed, key=lambda name: (packed[name], name))


def _free_seat(combiner: str, others: Sequence[dict[str, Any]]) -> str:
    taken = {claim["seat"] for claim in others}
    return next(seat for k in itertools.count() if (seat := f"{combiner}/{k}") not in taken)


def _without_expired(
    state: State, claims: Sequence[dict[str, Any]], attached: set[str], ages: Ages
) -> list[dict[str, Any]]:
    """Delete claims that nobody holds any more; return the others.

    A claim that looks given up may be that of a client whose combiner did not answer just now, or that is about to
    come back with all others after a stop. So its absence is noted first: until it has lasted, Unavailable is raised.
    """
    living, doubtful = [], []
    for claim in claims:
        noted = bool(claim.get("missed"))
        if claim["_id"] in attached:
            living.append(_noted(state, claim, ages, missed=False) if noted else claim)
        elif not noted and ages.of(claim) < EXPIRY_S:
            living.append(claim)
        elif noted and ages.of(claim) >= DOUBT_S:
            state.delete("clients", claim["_id"], version=claim["_version"])
        else:
            doubtful.append(claim if noted else _noted(state, claim, ages, missed=True))
    if doubtful:
        raise Unavailable(f"client {doubtful[0]['name']!r} was away for long and may be coming back; its part is kept")
    return living


def _noted(state: State, claim: dict[str, Any], ages: Ages, *, missed: bool) -> dict[str, Any]:
    claim = state.replace("clients", claim | {"missed": missed})
    ages.of(claim)
    return claim


def add_combiner(state: State, seen: Sequence[Seen], *, name: str, identity: str, address: str) -> None:
    """Note where a combiner is. Raises NameTaken while another combiner of that name answers."""
    if not name or len(name) > NAME_LIMIT or not name.isprintable() or "/" in name:
        raise BadInput(f"a combiner's name must be 1 to {NAME_LIMIT} printable characters without '/'")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise BadInput(f"a combiner's address must be host:port, not {address!r}")
    entry = {"identity": identity, "address": address}
    present = state.get("combiners", name)
    if present is None:
        try:
            state.insert("combiners", {"_id": name} | entry)
        except AlreadyExists:
            add_combiner(state, seen, name=name, identity=identity, address=address)
        return
    if present["identity"] != identity and any(c.name == name and c.up for c in seen):
        raise NameTaken(f"another combiner is up under the name {name!r}")
    if present["identity"] != identity or present["address"] != address:
        try:
            state.replace("combiners", present | entry)
        except VersionConflict:
            add_combiner(state, seen, name=name, identity=identity, address=address)
