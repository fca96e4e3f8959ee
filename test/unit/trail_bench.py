"""Trails for tests: rounds that nobody trained, and their blobs in memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from fedn.errors import NotFound
from fedn.reducer.trail import Commit
from fedn.trail.export import Export, each_blob, header, line
from fedn.trail.file import BLOBS, END_BYTES, HEAD, RECORDS, Head, Models, padding
from fedn.trail.records import Record, canonical_json, receipt_bytes
from fedn.trail.walk import read_through


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Blobs:
    """Blobs in memory: what a walk reads, and an export."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, content: bytes) -> str:
        self.contents[digest(content)] = content
        return digest(content)

    def check_model(self, wanted: str) -> bool:
        self.check_receipt(wanted)
        return True

    def check_receipt(self, wanted: str) -> bytes:
        with self.open(wanted) as stream:
            return read_through(wanted, [stream.read()], limit=2**20)

    def size(self, wanted: str) -> int | None:
        content = self.contents.get(wanted)
        return None if content is None else len(content)

    def verified(self, wanted: str) -> BinaryIO:
        with self.open(wanted) as stream:
            read_through(wanted, [stream.read()])
        return self.open(wanted)

    def open(self, wanted: str) -> BinaryIO:
        if wanted not in self.contents:
            raise NotFound("the blob is missing")
        return io.BytesIO(self.contents[wanted])


def commit(blobs: Blobs, number: int, session: str = "s-1", *, parent: bytes | None = None) -> Commit:
    """A round of one client; round k of session s makes the model "model k", in a lineage that began with "seed"."""
    update = {"client": "c1", "combiner": "north", "update": digest(b"u"), "num_examples": 10}
    receipt = blobs.put(receipt_bytes(f"{session}.{number}.train.1", [update]))
    before = parent or (b"model %d" % (number - 1) if number > 1 else b"seed")
    return Commit(
        session=session,
        round=number,
        parent=digest(before),
        model=blobs.put(b"model %d" % number),
        combiners=[{"combiner": "north", "model": digest(b"sum"), "weight": 10}],
        receipt=receipt,
        aggregator={"name": "fedavg"},
        time=float(number),
    )


def export(
    records: Sequence[Record], blobs: Blobs, *, models: Models = "all", finished: Mapping[str, int] | None = None
) -> Export:
    return Export.measure(lambda: records, blobs, models=models, finished=finished or {})


def write(path: Path, made: Export) -> Path:
    path.write_bytes(b"".join(made.blocks()))
    assert path.stat().st_size == made.size
    return path


def forged(path: Path, head: Head, records: Sequence[Record], blobs: Blobs) -> Path:
    """The file that somebody makes of changed records and blobs under the head that it had."""
    members = [(HEAD, canonical_json(head.as_json())), (RECORDS, b"".join(map(line, records)))]
    for _, _, wanted in each_blob(records, head):
        if wanted in blobs.contents:
            members.append((BLOBS + wanted, blobs.contents[wanted]))
    path.write_bytes(packed(members))
    return path


def packed(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of these files, as the export would write it."""
    files = [header(name, len(content)) + content + bytes(padding(len(content))) for name, content in members]
    return b"".join(files) + bytes(END_BYTES)
