"""Files that nobody needs any more, each deleted right before another one is written.

The pages of a deleted file go back to the host of a virtual machine within two seconds (free page reporting), and to
write to them then takes four times as long. So the last round's updates wait for those of the next. Small files, whose
number may be large, are deleted at once.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from pathlib import Path

from fedn.storage.folder import prepare

SMALL_BYTES = 2**20


class Retired:
    """A folder of them; what a dead process left there is gone. From any thread. Raises FolderUnusable."""

    def __init__(self, folder: Path) -> None:
        self._folder = prepare(folder)
        self._numbers = count()
        self._waiting: deque[tuple[Path, int]] = deque()
        for leftover in self._folder.iterdir():
            leftover.unlink()

    def take(self, path: Path) -> None:
        """Move this file here, if it is still there; it has no name that anybody knows from now on.

        Where it cannot be moved it is deleted at once.
        """
        try:
            size = path.stat().st_size
            if size <= SMALL_BYTES:
                path.unlink()
                return
            moved = path.rename(self._folder / str(next(self._numbers)))
        except FileNotFoundError:
            return
        except OSError:  # another file system, or no room for a name
            path.unlink(missing_ok=True)
            return
        self._waiting.append((moved, size))

    def free(self, size: int | None = None) -> None:
        """Delete files of at least so many bytes, the oldest first, or all."""
        freed = 0
        while size is None or freed < size:
            try:
                path, held = self._waiting.popleft()
            except IndexError:
                return
            path.unlink(missing_ok=True)
            freed += held
