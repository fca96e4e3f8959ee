"""What a record of the model trail is: its bytes, its hash, its form.

A record commits a round, or plants a seed. The first seed begins lineage 1; a later one begins the next lineage:
the chain goes on, but training begins anew, so that seed has no parent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fedn.errors import TrailBroken
from fedn.storage.blobs import DIGEST

NO_PARENT = ""
GENESIS = "0" * 64
FIRST_LINEAGE = 1

Record = Mapping[str, Any]


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


def is_seed(record: Record) -> bool:
    """True for a record that plants a seed model, False for a round's."""
    return not record["session"]


def lineage_of(record: Record) -> int:
    """The record's lineage; trails that were begun before there were several do not say it."""
    return int(record.get("lineage", FIRST_LINEAGE))


def round_key(session: str, number: int) -> str:
    """What is unique to a round: it is committed once, whoever leads."""
    return f"{session}/{number}"


def seed_key(lineage: int) -> str:
    """What is unique to the seed of a lineage."""
    return "seed" if lineage == FIRST_LINEAGE else f"seed/{lineage}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _is_combiner(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("combiner"), str)
        and _is_digest(value.get("model"))
        and _is_count(value.get("weight"))
    )


FORM: Mapping[str, Callable[[Any], bool]] = {
    "seq": _is_count,
    "session": lambda value: isinstance(value, str),
    "round": _is_count,
    "round_key": lambda value: isinstance(value, str),
    "model": _is_digest,
    "parent": lambda value: value == NO_PARENT or _is_digest(value),
    "combiners": lambda value: isinstance(value, list) and all(map(_is_combiner, value)),
    "receipt": lambda value: value == "" or _is_digest(value),
    "aggregator": lambda value: isinstance(value, Mapping),
    "time": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "previous": _is_digest,
    "hash": _is_digest,
}


def check_form(record: object, where: str) -> Record:
    """The record, if it has every field in its form. Raises TrailBroken, naming the field."""
    if not isinstance(record, Mapping):
        raise TrailBroken(f"{where}: is not a record")
    for name, holds in FORM.items():
        if name not in record:
            raise TrailBroken(f"{where}: has no {name}")
        if not holds(record[name]):
            raise TrailBroken(f"{where}: its {name} is malformed")
    if not _is_count(record.get("lineage", FIRST_LINEAGE)):
        raise TrailBroken(f"{where}: its lineage is malformed")
    return record
