"""The combiner's blobs: models, packages, updates. It holds their folder alone, so it knows what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedn.storage.files import FileBlobs
from fedn.storage.retired import Retired


class Shelf(FileBlobs):
    """`FileBlobs` that looks into its 256 shards once: each round sweeps it before its clients have their tasks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._retired = Retired(folder / "retired")
        self._stored = set(super().digests())

    def digests(self) -> Iterator[str]:
        """All blobs, and perhaps some that another hand has deleted."""
        yield from self._stored.copy()
        yield from list(self._lent)

    def delete(self, digest: str) -> None:
        """Delete the blob if it is here."""
        super().delete(digest)
        self._stored.discard(digest)

    def retire(self, digest: str) -> None:
        """Forget the blob if it is here; its file stays until there must be room for another."""
        self._retired.take(self._path(digest))
        if (lent := self._lent.pop(digest, None)) is not None:
            self._retired.take(lent)
        self._stored.discard(digest)

    def make_room(self, size: int | None = None) -> None:
        """Delete what was retired: so many bytes of it, or all."""
        self._retired.free(size)

    def put(self, path: Path, digest: str) -> None:
        """Store the file unless it is here."""
        try:
            super().put(path, digest)
        finally:
            self._see(digest)

    def _settle(self, whole: Path, digest: str) -> Path:
        try:
            return super()._settle(whole, digest)
        finally:
            self._see(digest)

    def _see(self, digest: str) -> None:
        """A blob that could not be synced may be there all the same."""
        if self._path(digest).exists():
            self._stored.add(digest)
