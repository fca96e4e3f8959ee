"""FEDn names its collections `network.clients` and so on; the MongoDB stand-in of the benchmark has no dotted names.

Import this before anything connects: the driver then says `network_clients`. FEDn itself is as it was installed.
"""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database


def _collection(database: Database[Any], name: str) -> Collection[Any]:
    return Collection(database, name.replace(".", "_"))


Database.__getitem__ = _collection  # type: ignore[method-assign,assignment]
