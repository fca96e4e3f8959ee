"""Verifying a trail: one walk over its records and blobs, wherever they are: a reducer, or a file.

Memory does not grow with the records, but by a line for each session.

What a walk cannot see: whoever can rewrite the last record, or all that follow a change, can hash them again; and a
trail that was cut within a session that did not finish looks like one that never went further. Both show when the
trail is compared with a record's hash that was noted before, which is what `known` is for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedn.errors import BlobCorrupt, FednError, TrailBroken, TrailFileInvalid
from fedn.trail.records import (
    FIRST_LINEAGE,
    GENESIS,
    NO_PARENT,
    Record,
    check_form,
    is_seed,
    lineage_of,
    record_hash,
    round_key,
    seed_key,
)

RECEIPT_LIMIT_BYTES = 64 * 2**20


class Shelf(Protocol):
    """Where a walk finds blobs. It reads each one through; a FednError says that one is missing or differs."""

    def check_model(self, digest: str) -> bool:
        """Verify the model's bytes; False when it was left out on purpose and there is nothing to check."""

    def check_receipt(self, digest: str) -> bytes:
        """The receipt, its bytes verified."""


@dataclass(frozen=True)
class Verified:
    """What a walk over the whole trail found to hold."""

    records: int
    blobs: int
    left_out: int  # models that could not be checked
    lineages: int
    last: str  # the last record's hash


def verify(
    records: Iterable[object], shelf: Shelf, *, finished: Mapping[str, int] | None = None, known: str | None = None
) -> Verified:
    """Walk the chain and every blob; raises TrailBroken naming the first thing that does not hold.

    `finished` gives the number of rounds of sessions that are known to have finished; `known` is the hash of a
    record that the trail is known to have had.
    """
    walk = Walk(shelf)
    met = known is None
    for record in records:
        walk.step(record)
        met = met or walk.previous == known
    if not walk.position:
        raise TrailBroken("the trail is empty")
    _hold(met, f"no record has the hash {(known or '')[:12]}…, which the trail is known to have had")
    for session, rounds in (finished or {}).items():
        walk.check_finished(session, rounds)
    return Verified(walk.position, walk.blobs, walk.left_out, walk.lineage, walk.previous)


@dataclass
class Walk:
    """How far a walk has come."""

    shelf: Shelf
    position: int = 0
    previous: str = GENESIS
    model: str = NO_PARENT
    lineage: int = FIRST_LINEAGE - 1
    rounds: dict[str, int] = field(default_factory=dict)  # the newest round of each session
    blobs: int = 0
    left_out: int = 0

    def step(self, found: object) -> None:
        """Check the next record and its blobs."""
        where = f"record {self.position}"
        record = check_form(found, where)
        _hold(record["seq"] == self.position, f"{where}: its number is {record['seq']}")
        _hold(record["previous"] == self.previous, f"{where}: does not follow from the record before it")
        _hold(record["hash"] == _hash(record, where), f"{where}: its content does not match its hash")
        if is_seed(record):
            self._check_seed(record, where)
        else:
            self._check_round(record, where)
        self._check_model(record["model"], where)
        if record["receipt"]:
            self._check_receipt(record, where)
        self.position += 1
        self.previous, self.model, self.lineage = record["hash"], record["model"], lineage_of(record)

    def _check_seed(self, record: Record, where: str) -> None:
        """A seed has no parent, and none trained it."""
        lineage = self.lineage + 1
        _hold(lineage_of(record) == lineage, f"{where}: its lineage is {lineage_of(record)}, and {lineage} is next")
        _hold(record["parent"] == NO_PARENT, f"{where}: a seed has no parent")
        _hold(record["round_key"] == seed_key(lineage), f"{where}: its round_key is not its lineage's")
        trained = record["round"] or record["combiners"] or record["receipt"] or record["aggregator"]
        _hold(not trained, f"{where}: a seed is not trained in a round")

    def _check_round(self, record: Record, where: str) -> None:
        """A round follows from the model before it, and from the round before it in its session."""
        session, number = record["session"], record["round"]
        _hold(record["parent"] == self.model, f"{where}: its parent is not the model before it")
        _hold(lineage_of(record) == self.lineage, f"{where}: its lineage is not that of its parent")
        _hold(record["round_key"] == round_key(session, number), f"{where}: its round_key is not its round's")
        done = self.rounds.get(session, 0)
        _hold(number == done + 1, f"{where}: round {number} of session {session} follows round {done}")
        _hold(record["receipt"], f"{where}: has no receipt")
        self.rounds[session] = number

    def _check_model(self, digest: str, where: str) -> None:
        try:
            checked = self.shelf.check_model(digest)
        except TrailFileInvalid:
            raise
        except FednError as error:
            raise _lost(where, "model", digest, error) from None
        self.blobs += checked
        self.left_out += not checked

    def _check_receipt(self, record: Record, where: str) -> None:
        try:
            content = self.shelf.check_receipt(record["receipt"])
        except TrailFileInvalid:
            raise
        except FednError as error:
            raise _lost(where, "receipt", record["receipt"], error) from None
        self.blobs += 1
        check_receipt(record, where, content)

    def check_finished(self, session: str, rounds: int) -> None:
        """A session that finished has all of its rounds in the trail."""
        done = self.rounds.get(session, 0)
        _hold(
            done >= rounds, f"session {session} finished with {rounds} rounds, and the trail ends after {done} of them"
        )


def check_receipt(record: Record, where: str, content: bytes) -> None:
    """The receipt is of this round, names each client once (I2), and has the weights that the record names."""
    try:
        receipt = json.loads(content)
        round_id, updates = receipt["round_id"], receipt["updates"]
        session, number = round_id.split(".")[:2]
        listed: dict[str, int] = {}
        for update in updates:
            listed[update["combiner"]] = listed.get(update["combiner"], 0) + update["num_examples"]
        clients = [update["client"] for update in updates]
        twice = len(set(clients)) < len(clients)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TrailBroken(f"{where}: its receipt cannot be read") from None
    its_own = (session, number) == (record["session"], str(record["round"]))
    _hold(its_own, f"{where}: its receipt is that of {str(round_id)[:80]!r}")
    _hold(not twice, f"{where}: its receipt names a client twice")
    named = {c["combiner"]: c["weight"] for c in record["combiners"]}
    _hold(named == listed, f"{where}: its receipt's weights are not the combiners'")


def read_through(digest: str, blocks: Iterable[bytes], *, limit: int | None = None) -> bytes:
    """Verify a blob's bytes. With a `limit` it returns them, and refuses more; without, it keeps none.

    Raises BlobCorrupt.
    """
    hashed, kept, total = hashlib.sha256(), [], 0
    for block in blocks:
        hashed.update(block)
        total += len(block)
        if limit is not None:
            if total > limit:
                raise BlobCorrupt(f"it has more than {limit} bytes")
            kept.append(block)
    if hashed.hexdigest() != digest:
        raise BlobCorrupt("its bytes do not match its digest")
    return b"".join(kept)


def _hash(record: Record, where: str) -> str:
    try:
        return record_hash(record)
    except (ValueError, TypeError, RecursionError):
        raise TrailBroken(f"{where}: is not JSON that can be hashed") from None


def _lost(where: str, what: str, digest: str, error: FednError) -> TrailBroken:
    return TrailBroken(f"{where}: its {what} {digest[:12]}…: {error.reason}")


def _hold(condition: Any, otherwise: str) -> None:
    if not condition:
        raise TrailBroken(otherwise)
