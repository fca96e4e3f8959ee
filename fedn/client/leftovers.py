"""Scripts that outlived their client: killed outright, it could not end them, so its next life does.

They would go on computing beside the same training that begins again, on the same memory and the same GPU.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

PROC = Path("/proc")
VARIABLE = b"FEDN_CLIENT_SETTINGS="  # each script is given one, in the folder of its task


def end_leftovers(root: Path) -> None:
    """SIGKILL to all processes whose task lies in the client's folder, which the caller holds. Linux only."""
    for pid in leftovers(root):
        log.warning("process %d is left over from an earlier life of this client, and is ended", pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def leftovers(root: Path) -> Iterator[int]:
    """The ids of such processes."""
    begins = VARIABLE + os.fsencode(root / "tasks") + b"/"
    for folder in PROC.iterdir() if PROC.exists() else ():
        with contextlib.suppress(OSError):  # another user's, or it has ended meanwhile
            if folder.name.isdigit() and any(
                entry.startswith(begins) for entry in (folder / "environ").read_bytes().split(b"\0")
            ):
                yield int(folder.name)
