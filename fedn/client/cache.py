"""What came from the network and can be had again: global models and compute packages, for all clients of a process.

::

    <dir>/models/<sha256>          the newest two, and those in use; checked when the process starts
    <dir>/packages/<sha256>.tar    the newest two; checked when the process starts
    <dir>/packages/<sha256>/       unpacked; compared with the archive at the first task
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from weakref import WeakValueDictionary

from fedn.model.safetensors import digest_of

KEEP_MODELS = 2
KEEP_PACKAGES = 2


class Cache:
    """The folder of models and packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._used: Counter[str] = Counter()
        for name in ("models", "packages"):
            (root / name).mkdir(parents=True, exist_ok=True)
        drop_broken(path for path in (root / "models").iterdir() if not path.suffix)
        drop_broken((root / "packages").glob("*.tar"))

    def package(self, digest: str) -> Path:
        """The folder of an unpacked compute package."""
        return self.root / "packages" / digest

    def archive(self, digest: str) -> Path:
        """Where a package's archive rests."""
        return self.root / "packages" / f"{digest}.tar"

    @contextlib.asynccontextmanager
    async def model(self, digest: str, fetch: Callable[[Path], Awaitable[None]]) -> AsyncIterator[Path]:
        """A global model, fetched unless it is here; it stays for the block."""
        path = self.root / "models" / digest
        self._used[digest] += 1
        try:
            async with self.one_at_a_time(digest):
                await fetch(path)
            os.utime(path)
            yield path
        finally:
            self._used[digest] -= 1
            if not self._used[digest]:
                del self._used[digest]

    @contextlib.asynccontextmanager
    async def one_at_a_time(self, digest: str) -> AsyncIterator[None]:
        """Only one client at a time fetches or unpacks this blob; whoever comes after finds it."""
        async with self._locks.setdefault(digest, asyncio.Lock()):
            yield

    def sweep(self) -> None:
        """Keep the newest of each kind."""
        keep_newest(self.root / "models", KEEP_MODELS, besides=list(self._used))
        keep_newest(self.root / "packages", 2 * KEEP_PACKAGES)  # each with its archive


def drop_broken(blobs: Iterable[Path]) -> None:
    """Delete what a power failure has cut short; what is still on its way, a `.part`, goes on later."""
    for path in list(blobs):
        if digest_of(path) != path.stem:
            path.unlink()


def keep_newest(folder: Path, count: int, *, besides: Iterable[str] = ()) -> None:
    """Delete all but the `count` newest entries, and those whose names (before a dot) are in `besides`."""
    kept = set(besides)
    entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[count:]:
        if entry.name.partition(".")[0] not in kept:
            remove(entry)


def remove(path: Path) -> None:
    """Delete a file or a folder; one that a script still writes to may stay."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
