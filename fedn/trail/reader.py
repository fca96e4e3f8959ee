"""Reading a trail's file that a stranger wrote: one pass, bounded memory, nothing unpacked, no refusal without a name.

Two readers go through the file side by side: one gives the records, the other the blobs that they name, in the order
that the format prescribes.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from fedn.errors import NotFound, PackageInvalid, TrailBroken, TrailFileInvalid
from fedn.package.tar import Member, members
from fedn.trail.file import BLOBS, END_BYTES, HEAD, LINE_LIMIT_BYTES, RECORDS, Head, padded
from fedn.trail.records import Record, canonical_json
from fedn.trail.walk import RECEIPT_LIMIT_BYTES, Verified, read_through, verify

MAX_MEMBERS = 1_000_000  # half a million rounds; each name takes memory


def verify_file(path: Path, *, known: str | None = None) -> Verified:
    """Verify a trail offline. Raises TrailFileInvalid for another kind of file, TrailBroken for what does not hold."""
    with TrailFile(path) as file:
        verified = verify(file.records(), file, finished=file.head.finished, known=known)
        file.check_end(verified)
        return verified


class TrailFile:
    """A trail's file as a walk takes it; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._seen: set[bytes] = set()
        self._read = END_BYTES
        with self._stack:
            self._size = self._check_plain()
            self._lines = self._stack.enter_context(closing(self._members()))
            self._blobs = self._stack.enter_context(closing(self._members()))
            self.head = self._head()
            self._stack = self._stack.pop_all()

    def __enter__(self) -> TrailFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _check_plain(self) -> int:
        try:
            with self._path.open("rb") as file:
                if file.read(2) == b"\x1f\x8b":
                    raise TrailFileInvalid(f"{self._path} is compressed; a trail's file is a plain tar")
            return self._path.stat().st_size
        except OSError as error:
            raise TrailFileInvalid(f"{self._path} cannot be read: {error.strerror}") from None

    def _members(self) -> Generator[Member, None, None]:
        with self._refusals():
            yield from members(self._path, max_files=MAX_MEMBERS, max_bytes=self._size)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except PackageInvalid as error:
            raise TrailFileInvalid(f"{self._path}: {error.reason}") from None

    def _take(self, source: Iterator[Member], name: str) -> Member:
        """The next member, which must be this one."""
        member = next(source, None)
        if member is None or member.name != name:
            found = "the file ends" if member is None else f"there is {member.name[:80]!r}"
            raise TrailFileInvalid(f"{self._path}: {found} where {name} should be")
        return member

    def _head(self) -> Head:
        """Both readers pass the head; the reader of blobs passes the records as well."""
        self._blocks_of(self._take(self._lines, HEAD), keep=False)
        content = self._blocks_of(self._take(self._blobs, HEAD), keep=True)
        head = Head.parse(self._json(content, HEAD))
        records = self._take(self._blobs, RECORDS)
        self._blocks_of(records, keep=False)
        self._read += padded(len(content)) + padded(records.size)
        return head

    def _blocks_of(self, member: Member, *, keep: bool) -> bytes:
        if keep and member.size > LINE_LIMIT_BYTES:
            raise TrailFileInvalid(f"{self._path}: {member.name} has {member.size} bytes, more than it may")
        with self._refusals():
            return b"".join(block if keep else b"" for block in member.blocks())

    def records(self) -> Iterator[Record]:
        """The records, oldest first. Raises TrailBroken when they are not as many as the file says."""
        count = 0
        for number, raw in enumerate(self._raw_lines()):
            record = self._json(raw, f"line {number + 1} of {RECORDS}")
            if not isinstance(record, Mapping):
                self._refuse_line(number)
            yield record
            count += 1
        if count != self.head.records:
            raise TrailBroken(f"the file was written with {self.head.records} records, and holds {count}")

    def _raw_lines(self) -> Iterator[bytes]:
        rest = bytearray()
        member = self._take(self._lines, RECORDS)
        number = 0
        with self._refusals():
            for block in member.blocks():
                *lines, tail = block.split(b"\n")
                for line in lines:
                    yield bytes(rest + line)
                    rest.clear()
                    number += 1
                rest += tail
                if len(rest) > LINE_LIMIT_BYTES:
                    self._refuse_line(number)
        if rest:
            self._refuse_line(number)

    def _refuse_line(self, number: int) -> NoReturn:
        raise TrailFileInvalid(f"{self._path}: line {number + 1} of {RECORDS} is not a record")

    def _json(self, raw: bytes, what: str) -> Any:
        """The value, if these are its canonical bytes."""
        try:
            value = json.loads(raw)
            canonical = canonical_json(value) == raw
        except (ValueError, RecursionError):
            canonical = False
        if not canonical:
            raise TrailFileInvalid(f"{self._path}: {what} is not canonical JSON")
        return value

    def check_model(self, digest: str) -> bool:
        """Verify a model; False when the file was written without it."""
        if self.head.models == "none" or (self.head.models == "latest" and digest != self.head.newest):
            return False
        if bytes.fromhex(digest) not in self._seen:
            read_through(digest, self._blob(digest))
        return True

    def check_receipt(self, digest: str) -> bytes:
        """The receipt; no two rounds have one."""
        return read_through(digest, self._blob(digest), limit=RECEIPT_LIMIT_BYTES)

    def _blob(self, digest: str) -> Iterator[bytes]:
        """The next blob of the file, which must be this one. Raises NotFound, TrailFileInvalid."""
        member = next(self._blobs, None)
        if member is None:
            raise NotFound("it is not in the file")
        if member.name != BLOBS + digest:
            raise NotFound(f"it is not in the file; there is {member.name[:80]!r} in its place")
        self._seen.add(bytes.fromhex(digest))
        self._read += padded(member.size)
        with self._refusals():
            yield from member.blocks()

    def check_end(self, verified: Verified) -> None:
        """The file ends where its last blob ends, and said what its last record is."""
        if verified.last != self.head.last:
            raise TrailBroken("the last record is not the one that the file was written with")
        more = next(self._blobs, None)
        if more is not None:
            raise TrailFileInvalid(f"{self._path}: no record names {more.name[:80]!r}")
        if self._read != self._size:
            raise TrailFileInvalid(f"{self._path}: there are bytes that belong to none of its files")
