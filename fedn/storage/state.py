"""The port of the state store: small JSON documents with versions, in a fixed set of collections.

Documents change one at a time, by compare-and-set on their version, so that a store without transactions will do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from fedn.errors import BadInput

Document = dict[str, Any]
Condition = str | int | bool | None
EVERYTHING: Mapping[str, Condition] = MappingProxyType({})

FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_DEPTH = 32


@dataclass(frozen=True)
class Collection:
    """What a collection promises: fields whose value no two documents share; whether documents may change."""

    unique: tuple[str, ...] = ()
    insert_only: bool = False


COLLECTIONS: Mapping[str, Collection] = MappingProxyType(
    {
        "trail": Collection(unique=("seq", "round_key"), insert_only=True),
        "sessions": Collection(unique=("slot",)),
        "rounds": Collection(unique=("round_id",)),
        "predictions": Collection(unique=("slot",)),
        "clients": Collection(unique=("part", "seat", "name")),
        "combiners": Collection(),
        "leases": Collection(),
        "context": Collection(),
        "journal_rounds": Collection(),
        "journal_updates": Collection(),
    }
)


class State(Protocol):
    """A state store, used by many threads and processes at once.

    A document has a text `_id`; the store keeps its integer `_version`, 1 at insert and one more at each replace.
    A document that lacks a unique field, or has null there, is not constrained by it. An unknown collection or an
    odd field name is a ValueError: a mistake in the program. Every method can raise Unavailable.
    """

    def insert(self, collection: str, document: Document) -> Document:
        """Add a document, durably. Raises AlreadyExists naming the taken field; BadInput if it is not JSON."""

    def get(self, collection: str, id: str) -> Document | None:  # noqa: A002
        """The document, or None."""

    def find(
        self,
        collection: str,
        *,
        where: Mapping[str, Condition] = EVERYTHING,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        """The documents whose fields equal `where`; None matches null and absent.

        Ordered by the field `sort` (absent first, then numbers as numbers, then text), then by `_id`.
        """

    def replace(self, collection: str, document: Document) -> Document:
        """Put `document` in the place of the stored one of the same `_version`; returns it with the next one.

        Raises VersionConflict, NotFound, AlreadyExists, and Conflict where documents are insert-only.
        """

    def delete(self, collection: str, id: str, *, version: int) -> None:  # noqa: A002
        """Delete that version. Raises VersionConflict, NotFound, and Conflict where documents are insert-only."""

    def clear(self, collection: str, where: Mapping[str, Condition]) -> int:
        """Delete the documents whose fields equal `where`, whatever their version; returns how many there were.

        Raises Conflict where documents are insert-only.
        """

    def count(self, collection: str, where: Mapping[str, Condition] = EVERYTHING) -> int:
        """How many documents have fields that equal `where`."""

    def close(self) -> None:
        """Let go of files and connections; further calls raise Unavailable."""


def checked_id(document: Document) -> str:
    """The document's `_id`. Raises ValueError when it has none, BadInput for what no store could keep as JSON."""
    id_ = document.get("_id")
    if not isinstance(id_, str) or not id_:
        raise ValueError("a document needs an _id, a text that is not empty")
    _check_json(document, MAX_DEPTH)
    return id_


def checked_field(name: str) -> str:
    """The field name. Raises ValueError for one that no store would take for a plain field."""
    if not FIELD.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a field")
    return name


def _check_json(value: object, depth: int) -> None:
    match value:
        case dict() | list() if depth == 0:
            raise BadInput(f"the document is nested deeper than {MAX_DEPTH} levels")
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise BadInput("a document's keys are text")
            _check_json(list(value), depth - 1)
            _check_json(list(value.values()), depth - 1)
        case list():
            for item in value:
                _check_json(item, depth - 1)
        case None | bool():
            pass
        case _:
            _check_scalar(value)


def _check_scalar(value: object) -> None:
    match value:
        case str():
            if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise BadInput("a document's text has half a surrogate pair, which UTF-8 cannot hold")
        case int():
            if not -(2**63) <= value < 2**63:
                raise BadInput(f"{value} does not fit 64 bits")
        case float():
            if not math.isfinite(value):
                raise BadInput(f"{value} is not a JSON number")
        case _:
            raise BadInput(f"{type(value).__name__} is not a JSON value")
