"""What came from the network and can be had again: global models and compute packages, for all clients of a process.

::

    <dir>/models/<sha256>          the newest two, and those in use; checked when the process starts
    <dir>/models/<sha256>.wide     made of it: one that travelled in a narrower float type; made again after a start
    <dir>/packages/<sha256>.tar    the newest two; checked when the process starts
    <dir>/packages/<sha256>/       unpacked; compared with the archive at the first task
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator
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
        self._sweeping = threading.Lock()
        for name in ("models", "packages"):
            (root / name).mkdir(parents=True, exist_ok=True)
        drop_broken(path for path in (root / "models").iterdir() if not path.suffix)
        for wide in (root / "models").glob("*.wide"):
            wide.unlink()
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
        with self.using(digest):
            async with self.one_at_a_time(digest):
                await fetch(path)
            os.utime(path)
            yield path

    def widened(self, model: Path) -> Path:
        """Where what is made of this model rests, for as long as the model does."""
        return model.with_suffix(".wide")

    @contextlib.contextmanager
    def using(self, digest: str) -> Iterator[None]:
        """For the block, nothing of this model or package is swept."""
        self._used[digest] += 1
        try:
            yield
        finally:
            self._used[digest] -= 1
            if not self._used[digest]:
                del self._used[digest]

    @contextlib.asynccontextmanager
    async def one_at_a_time(self, digest: str) -> AsyncIterator[None]:
        """Only one client at a time fetches or unpacks this blob; whoever comes after finds it."""
        async with self._locks.setdefault(digest, asyncio.Lock()):
            yield

    def make_room(self) -> None:
        """A model begins to come: delete the oldest, now that its pages will be written to (docs/performance.md)."""
        with self._sweeping:
            keep_newest(self.root / "models", KEEP_MODELS, besides=self._used)

    def sweep(self) -> None:
        """Keep the newest packages."""
        if not self._sweeping.acquire(blocking=False):
            return  # another client is at it
        try:
            keep_newest(self.root / "packages", KEEP_PACKAGES, besides=self._used)
        finally:
            self._sweeping.release()


def drop_broken(blobs: Iterable[Path]) -> None:
    """Delete what a power failure has cut short; what is still on its way, a `.part`, goes on later."""
    for path in list(blobs):
        if digest_of(path) != path.stem:
            path.unlink()


def keep_newest(folder: Path, count: int, *, besides: Container[str] = ()) -> None:
    """Delete all but the `count` newest things, and those in `besides`, each looked for right before it would go.

    What belongs to one thing goes together: ``<digest>``, ``<digest>.tar`` and what is on its way to either.
    """
    things: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        things.setdefault(path.name.lstrip(".").partition(".")[0], []).append(path)
    if len(things) <= count:
        return
    for thing in sorted(things, key=lambda name: max(map(changed, things[name])), reverse=True)[count:]:
        if thing not in besides:
            for path in things[thing]:
                remove(path)


def changed(path: Path) -> float:
    """When it was changed last, in seconds since the epoch; 0 when it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove(path: Path) -> None:
    """Delete a file or a folder; one that a script still writes to may stay."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
