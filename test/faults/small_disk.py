"""A disk of a few megabytes under a role's folder, which a test fills and empties."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.faults.namespaces import run


@dataclass(frozen=True)
class Disk:
    folder: Path

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self, *, but: int = 0) -> None:
        """Leave so many bytes, in whole pages."""
        with self.ballast.open("wb", buffering=0) as file:
            while (free := self.free() - but) > 0:
                file.write(bytes(free))

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_bsize

    def empty(self) -> None:
        self.ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A file system of its own, in memory, at the folder."""
    if os.geteuid() != 0:
        pytest.fail("a small disk is mounted, which needs root; CI has it")
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "fedn-small-disk", folder)
    try:
        yield Disk(folder)
    finally:
        run("umount", "--lazy", folder)
