"""What the reducer's parts work with: the two stores, a scratch folder, the trail and the sessions."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fedn.config import ReducerSettings
from fedn.errors import ModelMissing, SeedMissing
from fedn.model.safetensors import digest_of
from fedn.reducer.patience import Stores
from fedn.reducer.predictions import Predictions
from fedn.reducer.sessions import Sessions
from fedn.reducer.trail import Trail
from fedn.storage.blobs import Blobs
from fedn.storage.files import LEFTOVER_S, drop_older
from fedn.storage.folder import hold_slot, prepare
from fedn.storage.opening import open_blobs, open_state
from fedn.storage.retired import Retired
from fedn.storage.state import State
from fedn.trail.export import Export
from fedn.trail.file import Models
from fedn.trail.walk import RECEIPT_LIMIT_BYTES, Verified, read_through, verify

BLOCK_BYTES = 2**20
NO_BLOB = hashlib.sha256(b"").hexdigest()  # asked for to see whether the store answers


@dataclass(frozen=True)
class Desk:
    """The reducer's tools; one per worker process, made after the fork."""

    settings: ReducerSettings
    state: State
    blobs: Blobs
    scratch: Path  # of this process alone: a leader that was replaced may still tidy up its own
    retired: Retired
    uploads: Path
    lock: int
    trail: Trail
    sessions: Sessions
    predictions: Predictions
    stores: Stores
    whole: set[str] = field(default_factory=set)  # blobs in scratch that this process has seen to be right

    @staticmethod
    def open(settings: ReducerSettings) -> Desk:
        """The stores that the settings name, and the folders for work on this machine."""
        root = prepare(settings.dir)
        state, blobs = open_state(settings), open_blobs(settings)
        uploads = prepare(root / "uploads")
        drop_older(uploads.iterdir(), time.time() - LEFTOVER_S)
        slot, lock = hold_slot(prepare(root / "scratch"))
        return Desk(
            settings=settings,
            state=state,
            blobs=blobs,
            scratch=prepare(slot / "blobs"),
            retired=Retired(slot / "retired"),
            uploads=uploads,
            lock=lock,
            trail=Trail(state),
            sessions=Sessions(state),
            predictions=Predictions(state),
            stores=Stores(settings.store_patience_s),
        )

    def close(self) -> None:
        """Close the stores; another process may have the scratch folder."""
        self.state.close()
        os.close(self.lock)

    def check_newest(self) -> dict[str, Any] | None:
        """The trail's newest record, if there is one. Raises ModelMissing when the blob store lacks its model."""
        latest = self.trail.latest()
        self.check_held(latest)
        return latest

    def check_held(self, latest: dict[str, Any] | None) -> None:
        """Ask the blob store for the model of this record, or whether it answers at all. Raises ModelMissing."""
        if self.blobs.size(latest["model"] if latest is not None else NO_BLOB) is None and latest is not None:
            what = f"the trail's newest model, {latest['model']} (record {latest['seq']})"
            raise ModelMissing(f"{what}, is not in the blob store: training cannot go on from it")

    def local(self, digest: str) -> Path:
        """A local file of a blob, fetched and verified if it is not here yet."""
        path = self.scratch / digest
        if not self.has(digest):
            self.blobs.fetch(digest, path)
            self.whole.add(digest)
        return path

    def has(self, digest: str) -> bool:
        """True when the scratch folder holds the blob. What an earlier process left is checked: nothing is synced."""
        path = self.scratch / digest
        if not path.exists():
            return False
        if digest not in self.whole and digest_of(path) == digest:
            self.whole.add(digest)
        return digest in self.whole

    def adopt(self, path: Path, digest: str) -> None:
        """Take a file whose bytes are known to be this blob into the scratch folder."""
        path.replace(self.scratch / digest)
        self.whole.add(digest)

    def store(self, content: bytes, digest: str) -> None:
        """Put a small blob."""
        path = self.scratch / f"{digest}.new"
        path.write_bytes(content)
        self.blobs.put(path, digest)
        path.unlink()

    def size(self, digest: str) -> int | None:
        """A blob's bytes as the store has them, or None when it is not there."""
        return self.blobs.size(digest)

    def verified(self, digest: str) -> BinaryIO:
        """The blob as a stream of bytes that were checked, all of them; the caller closes it.

        Raises NotFound, BlobCorrupt.
        """
        if self.has(digest):
            return (self.scratch / digest).open("rb")
        path = self.uploads / f"{digest}.{uuid.uuid4().hex}"
        try:
            self.blobs.fetch(digest, path)
            return path.open("rb")
        finally:
            path.unlink(missing_ok=True)

    def check_model(self, digest: str) -> bool:
        """Read a model through and verify it. Raises NotFound, BlobCorrupt."""
        read_through(digest, self._blocks(digest))
        return True

    def check_receipt(self, digest: str) -> bytes:
        """A receipt, verified. Raises NotFound, BlobCorrupt."""
        return read_through(digest, self._blocks(digest), limit=RECEIPT_LIMIT_BYTES)

    def _blocks(self, digest: str) -> Iterator[bytes]:
        with self.blobs.open(digest) as stream:
            while block := stream.read(BLOCK_BYTES):
                yield block

    def verify(self) -> Verified:
        """Walk the whole trail. Raises SeedMissing, TrailBroken."""
        finished = self.sessions.finished()  # before the records: what has finished by then is among them
        return verify(self.trail.walk(self._records()), self, finished=finished)

    def export(self, models: Models) -> Export:
        """The trail as it is now, ready to be written as one file. Raises SeedMissing, TrailBroken."""
        finished, count = self.sessions.finished(), self._records()
        return Export.measure(lambda: self.trail.walk(count), self, models=models, finished=finished)

    def _records(self) -> int:
        latest = self.trail.latest()
        if latest is None:
            raise SeedMissing("there is no trail yet; it begins with a seed model, at /seed")
        return int(latest["seq"]) + 1

    def tidy(self, keep: set[str]) -> None:
        """Retire scratch files but those named: `make_room` deletes them."""
        self.whole.intersection_update(keep)
        for path in self.scratch.iterdir():
            if path.name not in keep:
                self.retired.take(path)

    def make_room(self) -> None:
        """Delete what was retired."""
        self.retired.free()
