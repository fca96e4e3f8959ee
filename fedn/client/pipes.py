"""Reading a script's output: always, so that it never blocks, and never more in memory than its tail."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, cast

TAIL_BYTES = 64 * 1024
LINE_BYTES = 8 * 1024
DRAIN_S = 1.0  # a grandchild with a session of its own can hold a pipe open for ever


class Tail(asyncio.Protocol):
    """Keeps the last 64 KiB of a stream, and tells `log` each line (cut at 8 KiB). `ended` at its end."""

    def __init__(self, log: Callable[[str], None] | None) -> None:
        self._log = log
        self._kept = bytearray()
        self._line = bytearray()
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep the end of what came."""
        self._kept += data
        del self._kept[:-TAIL_BYTES]
        if self._log is not None:
            self._line += data
            *lines, rest = self._line.split(b"\n")
            for line in lines:
                self._tell(line)
            self._line = rest
            if len(rest) > LINE_BYTES:
                self._tell(rest)
                self._line = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The last writer has closed the pipe, or we have."""
        if self._line:
            self._tell(self._line)
        if not self.ended.done():
            self.ended.set_result(None)

    def text(self) -> str:
        """The tail."""
        return self._kept.decode("utf-8", errors="replace")

    def _tell(self, line: bytes | bytearray) -> None:
        if self._log is not None:
            self._log(line[:LINE_BYTES].decode("utf-8", errors="replace").rstrip("\r"))


@contextlib.asynccontextmanager
async def pipe(log: Callable[[str], None] | None) -> AsyncIterator[tuple[Tail, BinaryIO]]:
    """A pipe that is read here; gives what it says, and the end to write to, to be closed once a process has it.

    It is not asyncio's own pipe of a subprocess: with that, a process ends only when the last writer of it ends.
    """
    loop = asyncio.get_running_loop()
    read_fd, write_fd = os.pipe()
    with cast(BinaryIO, os.fdopen(write_fd, "wb", buffering=0)) as writing:
        transport, tail = await loop.connect_read_pipe(lambda: Tail(log), os.fdopen(read_fd, "rb", buffering=0))
        try:
            yield tail, writing
        finally:
            transport.close()
