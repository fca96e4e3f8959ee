"""The live connection of one client, as the combiner holds it: commands out, signs of life in.

A combiner has thousands of these, so an idle one is small: no queue, no timer and no task of its own. What is to be
sent is sent by a task that is there while there is something to send.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc.aio

from fedn.wire.v1 import combiner_pb2 as pb

log = logging.getLogger(__name__)


class Stream:
    """Sends by ``write``; the block of ``until_closed`` ends when the stream is closed."""

    __slots__ = ("_closed", "_open", "_sender", "_waiting", "_write", "heard_at", "heartbeat_s", "superseded")

    def __init__(self, write: Callable[[pb.CombinerCommand], Awaitable[None]], *, heartbeat_s: float) -> None:
        self._write = write
        self._waiting: list[pb.CombinerCommand] = []
        self._sender: asyncio.Task[None] | None = None
        self._open: asyncio.Timeout | None = None
        self._closed = False
        self.superseded = False
        self.heartbeat_s = heartbeat_s  # what the client was told last
        self.heard_at = asyncio.get_running_loop().time()

    def send(self, command: pb.CombinerCommand) -> None:
        """Send a command after those that wait."""
        self._waiting.append(command)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    def close(self) -> None:
        """End the Attach call once what waits was sent."""
        self._closed = True
        if self._sender is None:
            self.cut()

    def cut(self) -> None:
        """End the Attach call now."""
        self._closed = True
        if self._open is not None:
            now, self._open = self._open, None
            now.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def until_closed(self) -> AsyncIterator[None]:
        """Around the reading of the client's half; when that has ended by itself, what waits is still sent."""
        try:
            async with asyncio.timeout(None) as self._open:
                if self._closed:
                    self.close()
                yield
                if self._sender is not None:
                    await asyncio.wait([self._sender])
        except TimeoutError:
            if not self._closed:
                raise
        finally:
            self._open = None
            if self._sender is not None:
                self._sender.cancel()

    async def _send(self) -> None:
        try:
            while self._waiting:
                sending, self._waiting = self._waiting, []
                for command in sending:
                    await self._write(command)
        except grpc.aio.BaseError:
            log.debug("the client has gone with a command on its way")
        finally:
            self._sender = None
            if self._closed:
                self.cut()
