"""Whether a role is ready, in a file that a health check reads: a client opens no port, a combiner only a guarded one.

The file is renewed all the time, so that one which has grown old says that its process hangs or is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

from fedn.errors import FolderUnusable, Unavailable

RENEW_S = 2.0
OLD_S = 10.0


class Readiness:
    """Keeps the file; without one, does nothing. Raises FolderUnusable when the file cannot be written at first."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._reason: str | None = "it is starting"
        try:
            self._write()
        except OSError as error:
            raise FolderUnusable(f"the file {file} cannot be written: {error.strerror}") from None

    def ready(self) -> None:
        """It can do its work."""
        self._say(None)

    def not_ready(self, reason: str) -> None:
        """It cannot, and why."""
        self._say(reason)

    async def keep(self) -> None:
        """Renew the file for ever."""
        while True:
            self._say(self._reason)
            await asyncio.sleep(RENEW_S)

    def _say(self, reason: str | None) -> None:
        self._reason = reason
        with contextlib.suppress(OSError):  # the file grows old, which says enough: a full disk must not stop a role
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_name(self._file.name + ".new")
        fresh.write_text(json.dumps({"reason": self._reason, "at": time.monotonic()}))
        fresh.replace(self._file)


def check(file: Path) -> None:
    """Raises Unavailable, with the reason, unless the file says that its process is ready, and has been renewed."""
    try:
        said = json.loads(file.read_text())
        reason, at = said["reason"], float(said["at"])
    except FileNotFoundError:
        raise Unavailable(f"{file} is not there: the process has not begun, or has another ready_file") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{file} cannot be read: {error}") from None
    age_s = time.monotonic() - at
    if not 0 <= age_s <= OLD_S:
        raise Unavailable(f"{file} has not been renewed for {age_s:.0f} s: the process hangs, or is gone")
    if reason is not None:
        raise Unavailable(str(reason))
