"""How documents of the state store rest in MongoDB, and how they are asked for.

::

    {_id, _version, _write, _null, …the document's own fields}

`_write` is a word of the write that made this version. `_null` names unique fields that are null: they are left out, so
that a sparse index does not take them for a value that only one document may have. A key that a server may not take
(one with a dot, a `$`, a NUL, an empty one, one of these four names) is percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedn.storage.state import Condition, Document, checked_field

OWN = ("_id", "_version")
HIDDEN = ("_write", "_null")
ODD = re.compile(r"[%.$\0]")
EMPTY = "%"
KINDS: Mapping[type, str] = {bool: "bool", str: "string"}


def stored(document: Document, unique: Iterable[str], *, version: int, write: str) -> dict[str, Any]:
    """The document as the server keeps it."""
    own = {key: value for key, value in document.items() if key not in OWN}
    nulls = sorted(key for key in unique if key in own and own[key] is None)
    body = {top_key(key): _encoded(value) for key, value in own.items() if key not in nulls}
    hidden: dict[str, Any] = {"_write": write} | ({"_null": nulls} if nulls else {})
    return {"_id": document["_id"], "_version": version} | hidden | body


def restored(kept: Mapping[str, Any]) -> Document:
    """The document as it was given, with its version."""
    own = {_key_back(k): _decoded(v) for k, v in kept.items() if k not in (*OWN, *HIDDEN)}
    nulls = dict.fromkeys(kept.get("_null", ()))
    return {"_id": kept["_id"]} | own | nulls | {"_version": int(kept["_version"])}


def query(where: Mapping[str, Condition]) -> dict[str, Any]:
    """The filter for documents whose fields equal these.

    MongoDB would match a list that contains the value, and some servers take true for 1: so the type is asked as well.
    """
    asked: dict[str, Any] = {}
    lists = []
    for field, value in where.items():
        key = top_key(checked_field(field))
        if field in OWN:
            asked[key] = value
            continue
        kind = {} if value is None else {"$type": KINDS.get(type(value), "number")}
        asked[key] = {"$eq": value} | kind
        lists.append({key: {"$type": "array"}})
    return asked | ({"$nor": lists} if lists else {})


def order(sort: str | None, *, descending: bool) -> list[tuple[str, int]]:
    """By the field, then by id. BSON's own order is the port's: absent, numbers, text."""
    if sort is None or sort == "_id":
        return [("_id", -1 if descending else 1)]
    return [(top_key(checked_field(sort)), -1 if descending else 1), ("_id", 1)]


def top_key(key: str) -> str:
    """The key of a document's own field, which may go by one of our names."""
    return f"%5F{key[1:]}" if key in HIDDEN else _key(key)


def _key(key: str) -> str:
    return ODD.sub(lambda found: f"%{ord(found[0]):02X}", key) or EMPTY


def _key_back(key: str) -> str:
    if key == EMPTY:
        return ""
    return re.sub(r"%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), key)


def _encoded(value: Any) -> Any:
    match value:
        case dict():
            return {_key(k): _encoded(v) for k, v in value.items()}
        case list():
            return [_encoded(v) for v in value]
    return value


def _decoded(value: Any) -> Any:
    match value:
        case dict():
            return {_key_back(k): _decoded(v) for k, v in value.items()}
        case list():
            return [_decoded(v) for v in value]
        case bool():
            return value
        case int():
            return int(value)  # the driver has a kind of its own for 64 bits
    return value
