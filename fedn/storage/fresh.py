"""Files that appear when they are complete, and copies that are hashed on the way."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from fedn.errors import cannot_write

BLOCK_BYTES = 1024 * 1024


class Source(Protocol):
    """What bytes are copied from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill some of the buffer; 0 at the end."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say in one sentence that the folder cannot be written. Raises FolderUnusable, DiskFull."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise  # about the caller's file
    except OSError as error:
        raise cannot_write(f"the folder {folder} cannot be written", error) from error


@contextmanager
def fresh(folder: Path, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file under a temporary name, which is gone afterwards unless it was renamed."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    path = Path(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


def copy(source: Source, target: BinaryIO) -> str:
    """Copy the bytes once, hashing them on the way; returns their sha256."""
    hashed, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    while count := source.readinto(block):
        hashed.update(block[:count])
        target.write(block[:count])
    return hashed.hexdigest()
