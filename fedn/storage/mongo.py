"""The state store of a deployment: a database of a server that speaks the MongoDB wire protocol.

One document per entity, changed by compare-and-set on its version; a sparse unique index per unique field. It keeps to
what all such servers do alike: no transactions, no change streams, no upserts.

A write whose answer is lost is asked for again. Each version holds a word of the write that made it, so the second
answer tells "it was mine" from "another was quicker". Only when another has changed the document since, the write is
reported as refused although it was done; who changes documents by compare-and-set then reads, and tries again.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.collection import Collection as Table
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from fedn.errors import Conflict, NotFound, Unavailable, VersionConflict
from fedn.storage.mongo_documents import order, query, restored, stored
from fedn.storage.mongo_errors import Doing, lost, translated, unanswered
from fedn.storage.state import COLLECTIONS, EVERYTHING, Collection, Condition, Document, checked_id
from fedn.storage.urls import MongoPlace

T = TypeVar("T")
Kept = dict[str, Any]

CONNECT_S = 3.0
ANSWER_S = 10.0
AGAIN_S = 5.0  # how long a request without an answer is asked for again, before the caller is told
DURABLE = WriteConcern(w="majority", j=True, wtimeout=int(ANSWER_S * 1000))


@dataclass
class Line:
    """One process's connections, and whether the server was there when it was last asked."""

    client: MongoClient[Kept]
    database: Database[Kept]
    laid_out: bool = False
    away: str = ""
    probe: threading.Lock = field(default_factory=threading.Lock)


class MongoState:
    """A `State` in a database. It connects at the first call, in each process that calls."""

    def __init__(
        self,
        place: MongoPlace,
        collections: Mapping[str, Collection] = COLLECTIONS,
        *,
        user: str | None = None,
        password: str | None = None,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._place = place
        self._collections = collections
        self._credentials: dict[str, Any] = (
            {"username": user, "password": password, "authSource": "admin"} if user else {}
        )
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._lines: dict[int, Line] = {}
        self._closed = False

    def insert(self, collection: str, document: Document) -> Document:
        """Add a document."""
        unique, id_, write = self._checked(collection).unique, checked_id(document), uuid.uuid4().hex
        body = stored(document, unique, version=1, write=write)

        def attempt(table: Table[Kept], again: bool) -> None:
            try:
                table.insert_one(dict(body))
            except DuplicateKeyError:
                if not (again and table.find_one({"_id": id_, "_write": write})):
                    raise

        self._call("insert into", collection, attempt)
        return document | {"_version": 1}

    def get(self, collection: str, id: str) -> Document | None:  # noqa: A002
        """The document, or None."""
        self._checked(collection)
        kept = self._call("read", collection, lambda table, _: table.find_one({"_id": id}))
        return None if kept is None else restored(kept)

    def find(
        self,
        collection: str,
        *,
        where: Mapping[str, Condition] = EVERYTHING,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        """The documents whose fields equal `where`."""
        self._checked(collection)
        asked, by = query(where), order(sort, descending=descending)
        if limit == 0:  # to the server it means all
            return []

        def attempt(table: Table[Kept], _: bool) -> list[Kept]:
            return list(table.find(asked).sort(by).limit(limit or 0))

        return [restored(kept) for kept in self._call("read", collection, attempt)]

    def replace(self, collection: str, document: Document) -> Document:
        """Put the document in the place of its version."""
        unique = self._checked(collection, changes=True).unique
        id_, version, write = checked_id(document), document.get("_version"), uuid.uuid4().hex
        if not isinstance(version, int):
            raise ValueError("a document is replaced by its _version")
        body = stored(document, unique, version=version + 1, write=write)

        def attempt(table: Table[Kept], again: bool) -> None:
            if table.replace_one({"_id": id_, "_version": version}, body).matched_count == 0:
                present = table.find_one({"_id": id_})
                if not (again and present and present["_write"] == write):
                    self._explain(collection, id_, version, present)

        self._call("change", collection, attempt)
        return document | {"_version": version + 1}

    def delete(self, collection: str, id: str, *, version: int) -> None:  # noqa: A002
        """Delete that version."""
        self._checked(collection, changes=True)

        def attempt(table: Table[Kept], again: bool) -> None:
            if table.delete_one({"_id": id, "_version": version}).deleted_count == 0:
                present = table.find_one({"_id": id})
                if present or not again:
                    self._explain(collection, id, version, present)

        self._call("delete from", collection, attempt)

    def clear(self, collection: str, where: Mapping[str, Condition]) -> int:
        """Delete the documents whose fields equal `where`; what an answer that was lost has deleted is not counted."""
        self._checked(collection, changes=True)
        asked = query(where)
        return self._call("delete from", collection, lambda table, _: table.delete_many(asked).deleted_count)

    def count(self, collection: str, where: Mapping[str, Condition] = EVERYTHING) -> int:
        """How many documents there are."""
        self._checked(collection)
        asked = query(where)
        return self._call("read", collection, lambda table, _: table.count_documents(asked))

    def close(self) -> None:
        """Close this process's connections."""
        self._closed = True
        line = self._lines.pop(os.getpid(), None)
        if line is not None:
            line.client.close()

    def _checked(self, collection: str, *, changes: bool = False) -> Collection:
        if collection not in self._collections:
            raise ValueError(f"there is no collection {collection!r}")
        if changes and self._collections[collection].insert_only:
            raise Conflict(f"documents of {collection!r} are never changed or deleted")
        return self._collections[collection]

    def _explain(self, collection: str, id_: str, version: int, present: Kept | None) -> None:
        if present is None:
            raise NotFound(f"{collection}: there is no document {id_!r}")
        raise VersionConflict(f"{collection}: {id_!r} has version {present['_version']}, not {version}")

    def _call(self, verb: str, collection: str, attempt: Callable[[Table[Kept], bool], T]) -> T:
        """The result of `attempt(table, again)`, which is asked for again when its answer is lost."""
        doing = Doing(verb, collection, self._place, user_given=bool(self._credentials))
        deadline, again, wait_s = time.monotonic() + AGAIN_S, False, 0.05
        while True:
            try:
                with self._connected(doing) as database:
                    return attempt(database[collection], again)
            except Unavailable as error:
                again = again or unanswered(error)
                if self._closed or not again or time.monotonic() > deadline:
                    raise
            time.sleep(wait_s)
            wait_s = min(1.0, 2 * wait_s)

    @contextmanager
    def _connected(self, doing: Doing) -> Iterator[Database[Kept]]:
        """The database. While the server is away one thread looks for it, and the others are told at once."""
        line = self._line()
        probing = line.away != ""
        if probing and not line.probe.acquire(blocking=False):
            raise Unavailable(line.away)
        try:
            with translated(doing):
                self._lay_out(line)
                yield line.database
            line.away = ""
        except Unavailable as error:
            if lost(error) and not self._closed:
                line.away, line.laid_out = error.reason, False
            raise
        finally:
            if probing:
                line.probe.release()

    def _line(self) -> Line:
        """This process's own. A client that came over a fork is never touched: its locks belong to the parent."""
        if self._closed:
            raise Unavailable("the state store is closed")
        line = self._lines.get(os.getpid())
        if line is None:
            client: MongoClient[Kept] = MongoClient(
                self._place.host,
                self._place.port,
                appname="fedn-reducer",
                serverSelectionTimeoutMS=int(self._connect_s * 1000),
                connectTimeoutMS=int(self._connect_s * 1000),
                socketTimeoutMS=int(self._answer_s * 1000),
                retryWrites=False,  # we ask again ourselves, in a way that a single server can do as well
                retryReads=False,
                connect=False,
                **self._credentials,
            )
            database = client.get_database(
                self._place.database, write_concern=DURABLE, read_concern=ReadConcern("majority")
            )
            line = self._lines.setdefault(os.getpid(), Line(client, database))
            if line.client is not client:  # another thread was quicker
                client.close()
        return line

    def _lay_out(self, line: Line) -> None:
        """The unique indexes, unless they were seen to since the server was away: it may come back empty."""
        if line.laid_out:
            return
        for name, collection in self._collections.items():
            for unique in collection.unique:
                line.database[name].create_index([(unique, 1)], name=unique, unique=True, sparse=True)
        line.laid_out = True
