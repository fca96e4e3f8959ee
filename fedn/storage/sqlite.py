"""The embedded state store: one SQLite file, in WAL mode, synced at every commit.

One table per collection (id, version, the rest as JSON), one unique index per unique field. Each call is one
statement, and a transaction of its own but within `together`.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedn.errors import (
    AlreadyExists,
    Conflict,
    DiskFull,
    FednError,
    FolderUnusable,
    NotFound,
    Unavailable,
    VersionConflict,
)
from fedn.storage.folder import prepare
from fedn.storage.state import COLLECTIONS, EVERYTHING, Collection, Condition, Document, checked_field, checked_id

BUSY_TIMEOUT_S = 10.0
OWN = {"_id": "id", "_version": "version"}  # fields that are columns
UNUSABLE = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_PERM: "cannot be written",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database",
    sqlite3.SQLITE_CORRUPT: "is damaged",
}


@dataclass(frozen=True)
class Done:
    """What a statement gave: its rows, and how many it changed."""

    rows: list[Any]
    changed: int


@dataclass(frozen=True)
class Line:
    """One thread's connection. The lock keeps `close` away from a statement that another thread runs."""

    connection: sqlite3.Connection
    lock: threading.Lock


class SqliteState:
    """A `State` in the file `path`. Raises FolderUnusable when the file cannot be made or written."""

    def __init__(
        self,
        path: Path,
        collections: Mapping[str, Collection] = COLLECTIONS,
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._path = prepare(path.parent) / path.name
        self._collections = collections
        self._busy_timeout_s = busy_timeout_s
        # Threads that are gone leave their connection to the next thread of the same ident.
        self._lines: dict[tuple[int, int], Line] = {}
        self._closed = False
        with self._translated():
            self._lay_out(self._line().connection)

    def insert(self, collection: str, document: Document) -> Document:
        """Add a document."""
        self._checked(collection)
        id_ = checked_id(document)
        sql = f'INSERT INTO "{collection}" (id, version, document) VALUES (?, 1, ?)'  # noqa: S608
        self._run(sql, (id_, _body(document)))
        return document | {"_version": 1}

    def get(self, collection: str, id: str) -> Document | None:  # noqa: A002
        """The document, or None."""
        found = self.find(collection, where={"_id": id})
        return found[0] if found else None

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
        condition, values = _condition(where)
        order = f"{_column(sort)} {'DESC' if descending else 'ASC'}, id" if sort else "id"
        sql = f'SELECT id, version, document FROM "{collection}" WHERE {condition} ORDER BY {order} LIMIT ?'  # noqa: S608
        rows = self._run(sql, (*values, -1 if limit is None else limit)).rows
        return [{"_id": id_} | json.loads(body) | {"_version": version} for id_, version, body in rows]

    def replace(self, collection: str, document: Document) -> Document:
        """Put the document in the place of its version."""
        self._checked(collection, changes=True)
        id_, version = checked_id(document), document.get("_version")
        if not isinstance(version, int):
            raise ValueError("a document is replaced by its _version")
        sql = f'UPDATE "{collection}" SET version = version + 1, document = ? WHERE id = ? AND version = ?'  # noqa: S608
        if self._run(sql, (_body(document), id_, version)).changed == 0:
            self._explain(collection, id_, version)
        return document | {"_version": version + 1}

    def delete(self, collection: str, id: str, *, version: int) -> None:  # noqa: A002
        """Delete that version."""
        self._checked(collection, changes=True)
        sql = f'DELETE FROM "{collection}" WHERE id = ? AND version = ?'  # noqa: S608
        if self._run(sql, (id, version)).changed == 0:
            self._explain(collection, id, version)

    def clear(self, collection: str, where: Mapping[str, Condition]) -> int:
        """Delete the documents whose fields equal `where`."""
        self._checked(collection, changes=True)
        condition, values = _condition(where)
        return self._run(f'DELETE FROM "{collection}" WHERE {condition}', values).changed  # noqa: S608

    def count(self, collection: str, where: Mapping[str, Condition] = EVERYTHING) -> int:
        """How many documents there are."""
        self._checked(collection)
        condition, values = _condition(where)
        sql = f'SELECT count(*) FROM "{collection}" WHERE {condition}'  # noqa: S608
        return int(self._run(sql, values).rows[0][0])

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes in the block is committed at its end, with one sync, or not at all."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(FednError):  # a store that was closed meanwhile has rolled back
                self._run("ROLLBACK")
            raise

    def close(self) -> None:
        """Close this process's connections, each after the statement that it runs."""
        self._closed = True
        for key in [k for k in self._lines if k[0] == os.getpid()]:
            line = self._lines.pop(key)
            with line.lock:
                line.connection.close()

    def _checked(self, collection: str, *, changes: bool = False) -> None:
        if collection not in self._collections:
            raise ValueError(f"there is no collection {collection!r}")
        if changes and self._collections[collection].insert_only:
            raise Conflict(f"documents of {collection!r} are never changed or deleted")

    def _explain(self, collection: str, id_: str, version: int) -> None:
        present = self.get(collection, id_)
        if present is None:
            raise NotFound(f"{collection}: there is no document {id_!r}")
        raise VersionConflict(f"{collection}: {id_!r} has version {present['_version']}, not {version}")

    def _run(self, sql: str, values: tuple[Any, ...] = ()) -> Done:
        with self._translated():
            line = self._line()
            with line.lock:
                if self._closed:
                    raise Unavailable("the state store is closed")
                cursor = line.connection.execute(sql, values)
                return Done(cursor.fetchall(), cursor.rowcount)

    def _line(self) -> Line:
        """This thread's own. One that came over a fork is never touched: its locks belong to the parent."""
        if self._closed:
            raise Unavailable("the state store is closed")
        key = (os.getpid(), threading.get_ident())
        line = self._lines.get(key)
        if line is None:
            connection = sqlite3.connect(
                self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._in_wal_mode(connection)
                connection.execute("PRAGMA synchronous = FULL")
            except sqlite3.Error:
                connection.close()  # it would not sync what it promises
                raise
            line = self._lines[key] = Line(connection, threading.Lock())
        return line

    def _in_wal_mode(self, connection: sqlite3.Connection) -> None:
        # The change of mode does not wait for its lock, unlike everything else: several processes may start at once.
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        with connection:  # the one transaction: a half-made file would lack its promises
            connection.execute("BEGIN IMMEDIATE")
            for name, collection in self._collections.items():
                columns = "(id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL)"
                connection.execute(f'CREATE TABLE IF NOT EXISTS "{checked_field(name)}" {columns}')
                for field in collection.unique:
                    index = f'CREATE UNIQUE INDEX IF NOT EXISTS "{name}.{field}" ON "{name}" ({_column(field)})'
                    connection.execute(index)

    def _disk_is_full(self) -> bool:
        try:
            return os.statvfs(self._path.parent).f_bavail == 0
        except OSError:
            return False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise _taken(str(error)) from None
        except sqlite3.Error as error:
            code = _primary(error)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(f"{self._path} was locked for {self._busy_timeout_s:g} s") from error
            if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._disk_is_full()):
                raise DiskFull(f"{self._path} cannot grow: No space left on device") from error
            if code in UNUSABLE:
                raise FolderUnusable(f"{self._path} {UNUSABLE[code]}") from error
            raise FednError(f"{self._path}: {error}") from error


def _primary(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def _taken(message: str) -> AlreadyExists:
    """The error for SQLite's words: ``UNIQUE constraint failed: trail.id``, or ``…: index 'trail.seq'``."""
    found = re.search(r"(\w+)\.(\w+)'?$", message)
    collection, field = found.groups() if found else ("?", "?")
    field = "_id" if field == "id" and "index" not in message else field
    return AlreadyExists(f"{collection}: another document has this {field}", collection=collection, field=field)


def _body(document: Document) -> str:
    rest = {key: value for key, value in document.items() if key not in OWN}
    return json.dumps(rest, separators=(",", ":"), allow_nan=False)


def _column(field: str) -> str:
    return OWN.get(field) or f"json_extract(document, '$.{checked_field(field)}')"


def _condition(where: Mapping[str, Condition]) -> tuple[str, tuple[Condition, ...]]:
    """SQL and its values. JSON's true is 1 to SQLite, and a list its text: so the type is compared as well."""
    parts, values = ["1"], []
    for field, value in where.items():
        column = _column(field)
        if value is None:
            parts.append(f"{column} IS NULL")
            continue
        parts.append(f"{column} = ?")
        values.append(value)
        if field not in OWN:
            kind = {bool: "'true', 'false'", str: "'text'"}.get(type(value), "'integer', 'real'")
            parts.append(f"json_type(document, '$.{field}') IN ({kind})")
    return " AND ".join(parts), tuple(values)
