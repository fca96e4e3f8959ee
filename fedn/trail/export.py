"""Writing a trail as one file, as a stream of known length; what is in the file is told by `fedn.trail.file`.

Memory: a digest for each blob, so that none is written twice; nothing else grows with the trail.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from fedn.errors import BlobCorrupt, TrailBroken
from fedn.trail.file import BLOBS, END_BYTES, HEAD, RECORDS, Head, Models, blobs_of, padded, padding
from fedn.trail.records import Record, canonical_json

BLOCK_BYTES = 2**20


class Store(Protocol):
    """Where the blobs are."""

    def size(self, digest: str) -> int | None:
        """A blob's bytes, or None when it is not there."""

    def verified(self, digest: str) -> BinaryIO:
        """The blob as a stream of bytes that were checked, all of them; the caller closes it. Raises BlobCorrupt."""


@dataclass(frozen=True)
class Export:
    """A trail as it was when it was measured; records that come later are not in it."""

    head: Head
    size: int
    records: Callable[[], Iterable[Record]]
    lines_size: int
    store: Store

    @staticmethod
    def measure(
        records: Callable[[], Iterable[Record]], store: Store, *, models: Models, finished: Mapping[str, int]
    ) -> Export:
        """Look at everything that will be written. Raises TrailBroken for what is not there.

        `records` gives the same records, oldest first, each time it is called.
        """
        count, lines, last, newest = 0, 0, "", ""
        for record in records():
            count, last, newest = count + 1, record["hash"], record["model"]
            lines += len(line(record))
        if not count:
            raise TrailBroken("the trail is empty")
        head = Head(count, last, models, newest, dict(finished))
        size = padded(len(canonical_json(head.as_json()))) + padded(lines) + END_BYTES
        for record, what, digest in each_blob(records(), head):
            found = store.size(digest)
            if found is None:
                raise TrailBroken(f"record {record['seq']}: its {what} {digest[:12]}… is not in the blob store")
            size += padded(found)
        return Export(head, size, records, lines, store)

    def blocks(self) -> Iterator[bytes]:
        """The file, piece by piece; of a blob nothing is given before all of it was checked.

        Raises BlobCorrupt when a blob's bytes do not match its digest, or are not as many as the store said.
        """
        content = canonical_json(self.head.as_json())
        yield header(HEAD, len(content)) + content + bytes(padding(len(content)))
        yield header(RECORDS, self.lines_size)
        for record in self.records():
            yield line(record)
        yield bytes(padding(self.lines_size))
        for _, _, digest in each_blob(self.records(), self.head):
            yield from self._blob(digest)
        yield bytes(END_BYTES)

    def _blob(self, digest: str) -> Iterator[bytes]:
        size, sent = self.store.size(digest) or 0, 0
        with self.store.verified(digest) as stream:
            yield header(BLOBS + digest, size)
            while block := stream.read(min(size + 1 - sent, BLOCK_BYTES)):
                sent += len(block)
                if sent > size:
                    break
                yield block
        if sent != size:
            more = " or more" if sent > size else ""
            raise BlobCorrupt(f"the blob {digest} has {sent} bytes{more}, and the store said {size}", digest=digest)
        yield bytes(padding(size))


def each_blob(records: Iterable[Record], head: Head) -> Iterator[tuple[Record, str, str]]:
    """Every blob of the file, once, in the file's order, with the record that first names it, and as what."""
    written: set[bytes] = set()
    for record in records:
        for what, digest in blobs_of(record, head):
            if (key := bytes.fromhex(digest)) not in written:
                written.add(key)
                yield record, what, digest


def line(record: Record) -> bytes:
    """A record as the file has it."""
    return canonical_json(record) + b"\n"


def header(name: str, size: int) -> bytes:
    """A plain file's header, the same for the same name and size."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)
