"""The model trail: an append-only, hash-chained history of global models (I3, I5).

Each record names its model, its parent, the combiners' models with their weights, and a receipt: a blob that
lists every client's update digest and weight. The insert of a record *is* the commit of a round; "the latest
model" is the last record's. Nothing here, and no route, changes or deletes a record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedn.errors import AlreadyExists, FednError, SeedExists, StaleTerm, TrailBroken
from fedn.storage.state import State

NO_PARENT = ""
GENESIS = "0" * 64

Record = Mapping[str, Any]


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


def round_key(commit: Commit) -> str:
    """What is unique to a round: it is committed once, whoever leads."""
    return f"{commit.session}/{commit.round}"


def canonical_json(value: Any) -> bytes:
    """The one byte string of a JSON value: keys sorted, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def record_hash(record: Record) -> str:
    """sha256 over the canonical JSON of a record without its own hash."""
    content = {k: v for k, v in record.items() if k not in ("hash", "_id", "_version")}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def receipt_bytes(round_id: str, updates: Iterable[Mapping[str, Any]]) -> bytes:
    """The receipt of a round: its updates, each {client, combiner, update, num_examples}, by client."""
    ordered = sorted(updates, key=lambda update: str(update["client"]))
    return canonical_json({"round_id": round_id, "updates": ordered})


class Trail:
    """The records in a state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return [public(r) for r in self._state.find("trail", sort="seq")]

    def latest(self) -> dict[str, Any] | None:
        """The newest record."""
        last = self._state.find("trail", sort="seq", descending=True, limit=1)
        return public(last[0]) if last else None

    def of_session(self, session: str) -> list[dict[str, Any]]:
        """The records of one session, oldest first."""
        return [public(r) for r in self._state.find("trail", where={"session": session}, sort="seq")]

    def check_seed(self, model: str) -> None:
        """Raise SeedExists when the trail began with another model."""
        for first in self._state.find("trail", where={"seq": 0}):
            if first["model"] != model:
                raise SeedExists(f"the trail began with {first['model'][:12]}…")

    def plant(self, model: str, *, time: float) -> dict[str, Any]:
        """Begin the trail with a seed model. The same seed again is fine; another one raises SeedExists."""
        first = {
            "seq": 0,
            "session": "",
            "round": 0,
            "round_key": "seed",
            "model": model,
            "parent": NO_PARENT,
        }
        empty = {"combiners": [], "receipt": "", "aggregator": {}, "time": time, "previous": GENESIS}
        try:
            return self._insert(first | empty)
        except AlreadyExists:
            self.check_seed(model)
            return public(self._state.find("trail", where={"seq": 0})[0])

    def append(self, commit: Commit) -> dict[str, Any]:
        """Commit a round. Committing the same round again returns its record; a lost race raises StaleTerm."""
        last = self.latest()
        if last is None:
            raise TrailBroken("the trail has no seed to go on from")
        if last["model"] != commit.parent:
            present = self._committed(commit)
            if present is None:
                raise StaleTerm("the trail has gone on from another model than this round was trained from")
            return present
        record = {
            "seq": last["seq"] + 1,
            "session": commit.session,
            "round": commit.round,
            "round_key": round_key(commit),
            "model": commit.model,
            "parent": commit.parent,
            "combiners": [dict(c) for c in commit.combiners],
            "receipt": commit.receipt,
            "aggregator": dict(commit.aggregator),
            "time": commit.time,
            "previous": last["hash"],
        }
        try:
            return self._insert(record)
        except AlreadyExists:
            present = self._committed(commit)
            if present is None:
                raise StaleTerm("another leader has written the trail's next record") from None
            return present

    def _committed(self, commit: Commit) -> dict[str, Any] | None:
        found = self._state.find("trail", where={"round_key": round_key(commit)})
        return public(found[0]) if found else None

    def _insert(self, record: dict[str, Any]) -> dict[str, Any]:
        hashed = record | {"hash": record_hash(record)}
        return public(self._state.insert("trail", {"_id": f"{record['seq']:012d}"} | hashed))


def public(document: Mapping[str, Any]) -> dict[str, Any]:
    """A record without the store's own fields."""
    return {k: v for k, v in document.items() if not k.startswith("_")}


@dataclass(frozen=True)
class Verified:
    """What a walk over the whole trail found to hold."""

    records: int
    blobs: int


def verify(records: Sequence[Record], check_blob: Callable[[str], bytes | None]) -> Verified:
    """Walk the chain and every blob; raises TrailBroken naming the first thing that does not hold.

    `check_blob(digest)` reads the blob through, verifies its bytes, and returns them if they are small enough to
    be a receipt; it raises a FednError when the blob is missing or differs.
    """
    previous, parent, seen = GENESIS, NO_PARENT, 0
    for position, record in enumerate(records):
        where = f"record {position}"
        _hold(record.get("seq") == position, f"{where}: its number is {record.get('seq')}")
        _hold(record.get("previous") == previous, f"{where}: does not follow from the record before it")
        _hold(record.get("hash") == record_hash(record), f"{where}: its content does not match its hash")
        _hold(record.get("parent") == parent, f"{where}: its parent is not the model before it")
        _blob(record["model"], where, "model", check_blob)
        seen += 1
        if record["receipt"]:
            _check_receipt(record, where, _blob(record["receipt"], where, "receipt", check_blob))
            seen += 1
        previous, parent = record["hash"], record["model"]
    return Verified(len(records), seen)


def _hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise TrailBroken(otherwise)


def _blob(digest: str, where: str, what: str, check_blob: Callable[[str], bytes | None]) -> bytes | None:
    try:
        return check_blob(digest)
    except FednError as error:
        raise TrailBroken(f"{where}: its {what} {digest[:12]}…: {error.reason}") from None


def _check_receipt(record: Record, where: str, content: bytes | None) -> None:
    """The receipt's weights must be those that the record names, per combiner."""
    try:
        updates = json.loads(content or b"")["updates"]
        named = {c["combiner"]: c["weight"] for c in record["combiners"]}
        listed: dict[str, int] = {}
        for update in updates:
            listed[update["combiner"]] = listed.get(update["combiner"], 0) + update["num_examples"]
    except (ValueError, KeyError, TypeError):
        raise TrailBroken(f"{where}: its receipt cannot be read") from None
    _hold(named == listed, f"{where}: its receipt's weights are not the combiners'")
