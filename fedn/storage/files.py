"""The embedded blob store: a folder of files.

::

    <folder>/ab/ab12…         a blob; complete, verified and synced before it has this name
    <folder>/ab/.ab12….<tmp>  one that is being written
    <folder>/incoming/ab12…   an upload that may be resumed
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from fedn.errors import BlobCorrupt, DigestMismatch, NotFound
from fedn.model.safetensors import digest_of
from fedn.storage.blobs import DIGEST, checked_digest
from fedn.storage.folder import prepare
from fedn.storage.fresh import copy, fresh, writing

LEFTOVER_S = 24 * 3600.0


class FileBlobs:
    """`Blobs` in a folder, and the local shelf of the transfer protocol. Raises FolderUnusable."""

    def __init__(self, folder: Path) -> None:
        self._folder = prepare(folder)
        self._incoming = prepare(self._folder / "incoming")
        self._lent: dict[str, Path] = {}
        self._unsynced: set[str] = set()
        self._lay_out()
        self._drop_leftovers(time.time() - LEFTOVER_S)

    def put(self, path: Path, digest: str) -> None:
        """Store the file unless it is here."""
        blob = self._path(digest)
        if blob.exists():
            return
        with writing(self._folder):
            shard = blob.parent
            with fresh(shard, digest) as (target, temporary), path.open("rb", buffering=0) as source:
                found = copy(source, target)
                if found != digest:
                    raise DigestMismatch(f"{path} has sha256 {found}, not {digest}")
                target.flush()
                os.fsync(target.fileno())
                temporary.replace(blob)
            _sync(shard)

    def fetch(self, digest: str, destination: Path) -> None:
        """Copy the blob to a file, verified; a copy can be made again, so it is not synced."""
        blob = self._present(digest)
        folder = destination.parent
        with writing(folder), fresh(folder, digest) as (target, temporary), blob.open("rb", buffering=0) as source:
            found = copy(source, target)
            if found != digest:
                raise BlobCorrupt(f"the blob {digest} in {blob} has the bytes of sha256 {found}", digest=digest)
            target.flush()
            temporary.replace(destination)

    def open(self, digest: str) -> BinaryIO:
        """The blob as a stream, not verified."""
        return self._present(digest).open("rb")

    def size(self, digest: str) -> int | None:
        """Its bytes, or None."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        """Delete the blob if it is here."""
        self._path(digest).unlink(missing_ok=True)
        if (lent := self._lent.pop(digest, None)) is not None:
            lent.unlink(missing_ok=True)

    def lend(self, path: Path, digest: str) -> None:
        """Find this file under its digest until it is deleted, or this process ends: nothing durable, and no copy."""
        self._lent[checked_digest(digest)] = path

    def digests(self) -> Iterator[str]:
        """All blobs."""
        for shard in self._shards():
            for path in list(shard.iterdir()):
                if DIGEST.fullmatch(path.name):
                    yield path.name
        yield from list(self._lent)

    def find(self, digest: str) -> Path | None:
        """The file of a blob that is complete, and durable or lent; or None."""
        path = self._path(digest)
        if path.exists() and digest not in self._unsynced:
            return path
        return self._lent.get(digest)

    def part(self, digest: str) -> Path:
        """Where an incomplete upload rests."""
        return self._incoming / checked_digest(digest)

    def drop_unsound(self, sound: Container[str]) -> None:
        """After the machine has died: delete the blobs that have other bytes than their digest says, unless `sound`."""
        for digest in list(self.digests()):
            if digest not in sound and digest_of(self._path(digest)) != digest:
                self.delete(digest)

    def drop_parts(self, needed: Container[str] = ()) -> None:
        """Forget what was uploaded in part, but these."""
        for path in self._incoming.iterdir():
            if path.name not in needed:
                path.unlink(missing_ok=True)

    def keep(self, digest: str) -> Path:
        """Make a blob of the part, whose length and digest the caller has verified. Raises NotFound without one.

        When the machine dies before it returns, the blob may be there without its bytes: see `drop_unsound`.
        """
        return self._settle(self.part(digest), digest)

    def store(self, content: bytes, digest: str) -> Path:
        """Make a blob of these bytes, whose digest the caller has verified; durable on return, as with `keep`."""
        with writing(self._folder), fresh(self._incoming, digest) as (target, temporary):
            target.write(content)
            target.flush()
            return self._settle(temporary, digest)

    def _settle(self, whole: Path, digest: str) -> Path:
        blob = self._path(digest)
        self._unsynced.add(digest)
        try:
            with writing(self._folder):
                try:
                    whole.replace(blob)
                except FileNotFoundError:
                    return self._present(digest)
                # The name first: most file systems then make both durable with one commit.
                _sync(blob)
                _sync(blob.parent)
        finally:
            self._unsynced.discard(digest)
        return blob

    def _path(self, digest: str) -> Path:
        return self._folder / checked_digest(digest)[:2] / digest

    def _present(self, digest: str) -> Path:
        path = self._path(digest)
        if not path.exists():
            raise NotFound(f"there is no blob {digest}")
        return path

    def _lay_out(self) -> None:
        """Make all shards at once, with one sync: the first blob of each need not wait for its own."""
        missing = [shard for k in range(256) if not (shard := self._folder / f"{k:02x}").exists()]
        with writing(self._folder):
            for shard in missing:
                shard.mkdir(exist_ok=True)
            if missing:
                _sync(self._folder)

    def _shards(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if len(path.name) == 2]

    def _drop_leftovers(self, before: float) -> None:
        """Delete what dead processes left behind, if it is old: a living one may still write what is young."""
        temporaries = [path for shard in self._shards() for path in shard.glob(".*.tmp")]
        drop_older((*temporaries, *self._incoming.iterdir()), before)


def drop_older(paths: Iterable[Path], before: float) -> None:
    """Delete the files that nobody has changed since this time, in seconds since the epoch."""
    for path in paths:
        try:
            if path.stat().st_mtime < before:
                path.unlink()
        except FileNotFoundError:  # another process was quicker
            continue


def _sync(path: Path) -> None:
    """Make a file's bytes durable, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
