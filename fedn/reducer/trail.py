"""The model trail in the reducer's store: an append-only, hash-chained history of global models (I3, I5).

Each record names its model, its parent, the combiners' models with their weights, and a receipt: a blob that
lists every client's update digest and weight. The insert of a record *is* the commit of a round; "the latest
model" is the last record's. Nothing here, and no route, changes or deletes a record. What a record is and how a
trail is verified: `fedn.trail`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedn.errors import AlreadyExists, Conflict, SeedExists, StaleTerm, TrailBroken
from fedn.storage.state import State
from fedn.trail.records import (
    FIRST_LINEAGE,
    GENESIS,
    NO_PARENT,
    is_seed,
    lineage_of,
    record_hash,
    round_key,
    seed_key,
)


@dataclass(frozen=True)
class Commit:
    """A finished round as it enters the trail."""

    session: str
    round: int
    parent: str  # the model that it was trained from
    model: str
    combiners: Sequence[Mapping[str, Any]]  # {combiner, model, weight}
    receipt: str
    aggregator: Mapping[str, Any]
    time: float


class Trail:
    """The records in a state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return [public(r) for r in self._state.find("trail", sort="seq")]

    def walk(self, count: int) -> Iterator[dict[str, Any]]:
        """The first `count` records, one at a time. Raises TrailBroken for one that is not there."""
        for seq in range(count):
            record = self._state.get("trail", id_of(seq))
            if record is None:
                raise TrailBroken(f"record {seq} is not in the store")
            yield public(record)

    def latest(self) -> dict[str, Any] | None:
        """The newest record."""
        return self._newest()

    def seed(self) -> dict[str, Any] | None:
        """The record that the present lineage began with."""
        return self._newest(session="")

    def holds(self, model: str) -> bool:
        """True for a model of the trail."""
        return bool(self._state.find("trail", where={"model": model}, limit=1))

    def _newest(self, **where: str) -> dict[str, Any] | None:
        last = self._state.find("trail", where=where, sort="seq", descending=True, limit=1)
        return public(last[0]) if last else None

    def of_session(self, session: str) -> list[dict[str, Any]]:
        """The records of one session, oldest first."""
        return [public(r) for r in self._state.find("trail", where={"session": session}, sort="seq")]

    def lineage_of_session(self, session: str) -> int | None:
        """The lineage that the session has trained; None before its first round."""
        newest = self._newest(session=session)
        return None if newest is None else lineage_of(newest)

    def check_seed(self, model: str) -> None:
        """Raise SeedExists when the present lineage began with another model."""
        seed = self.seed()
        if seed is not None and seed["model"] != model:
            raise SeedExists(f"the trail has begun with {seed['model'][:12]}…; another seed begins a new lineage")

    def plant(self, model: str, *, time: float) -> dict[str, Any]:
        """Begin the trail with a seed model. The same seed again is fine; another one raises SeedExists."""
        self.check_seed(model)
        present = self.seed()
        if present is not None:
            return present
        try:
            return self._insert(seed_record(model, None, time=time))
        except AlreadyExists:
            return self.plant(model, time=time)

    def begin_lineage(self, model: str, *, time: float) -> dict[str, Any]:
        """Go on with a seed model that has no parent: training begins anew, the chain does not.

        A seed that was planted and not yet trained is not planted again. Raises Conflict when the trail grew meanwhile.
        """
        last = self.latest()
        if last is not None and is_seed(last) and last["model"] == model:
            return last
        try:
            return self._insert(seed_record(model, last, time=time))
        except AlreadyExists:
            raise Conflict(
                "the trail has grown at this very moment; look at it, and ask again if you still want"
            ) from None

    def append(self, commit: Commit, *, may_write: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Commit a round. Committing the same round again returns its record; a lost race raises StaleTerm.

        `may_write` is asked in the last moment and raises StaleTerm when it may not be written any more.
        Raises Conflict for a round that was trained from a lineage that is no longer the present one.
        """
        last = self.latest()
        if last is None:
            raise TrailBroken("the trail has no seed to go on from")
        if last["model"] != commit.parent:
            present = self._committed(commit)
            if present is not None:
                return present
            if is_seed(last):
                raise Conflict(f"lineage {lineage_of(last)} was begun while this round was trained from the one before")
            raise StaleTerm("the trail has gone on from another model than this round was trained from")
        record = {
            "seq": last["seq"] + 1,
            "session": commit.session,
            "round": commit.round,
            "round_key": round_key(commit.session, commit.round),
            "lineage": lineage_of(last),
            "model": commit.model,
            "parent": commit.parent,
            "combiners": [dict(c) for c in commit.combiners],
            "receipt": commit.receipt,
            "aggregator": dict(commit.aggregator),
            "time": commit.time,
            "previous": last["hash"],
        }
        try:
            may_write()
            return self._insert(record)
        except AlreadyExists:
            present = self._committed(commit)
            if present is None:
                raise StaleTerm("another leader has written the trail's next record") from None
            return present

    def _committed(self, commit: Commit) -> dict[str, Any] | None:
        found = self._state.find("trail", where={"round_key": round_key(commit.session, commit.round)})
        return public(found[0]) if found else None

    def _insert(self, record: dict[str, Any]) -> dict[str, Any]:
        hashed = record | {"hash": record_hash(record)}
        return public(self._state.insert("trail", {"_id": id_of(record["seq"])} | hashed))


def seed_record(model: str, last: Mapping[str, Any] | None, *, time: float) -> dict[str, Any]:
    """The record of a seed that begins the lineage after that of the `last` record, or the trail; not yet hashed."""
    lineage = FIRST_LINEAGE if last is None else lineage_of(last) + 1
    return {
        "seq": 0 if last is None else last["seq"] + 1,
        "session": "",
        "round": 0,
        "round_key": seed_key(lineage),
        "lineage": lineage,
        "model": model,
        "parent": NO_PARENT,
        "combiners": [],
        "receipt": "",
        "aggregator": {},
        "time": time,
        "previous": GENESIS if last is None else last["hash"],
    }


def id_of(seq: int) -> str:
    """The store's id of a record."""
    return f"{seq:012d}"


def public(document: Mapping[str, Any]) -> dict[str, Any]:
    """A record without the store's own fields."""
    return {k: v for k, v in document.items() if not k.startswith("_")}
