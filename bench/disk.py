"""Room on the disk, before a benchmark fills it."""

from __future__ import annotations

import shutil
import tempfile

SPARE_BYTES = 2_000_000_000  # for whoever else works here


def check_room(needed: int) -> None:
    """Raise OSError when the folder of temporary files has less than so many bytes, and a reserve."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed + SPARE_BYTES:
        where = tempfile.gettempdir()
        raise OSError(
            f"{needed / 1e9:.1f} GB and {SPARE_BYTES / 1e9:g} to spare are needed in {where}, {free / 1e9:.1f} are free"
        )
