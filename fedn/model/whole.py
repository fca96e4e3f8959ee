"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """Write ``path`` under a temporary name beside it; when the block ends well it is synced and renamed.

    Not `synced`, it survives the death of the process, but not of the machine. When the block raises,
    nothing is left behind and what was at ``path`` before stays.
    """
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb+") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        part.replace(path)
        if synced:
            _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
