"""A proxy on loopback that makes the way long, narrow or dead while it is in use, as a bad network does.

It has an event loop in a thread of its own, so that tests of both kinds can use it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

BLOCK = 64 * 1024
NARROW = 32 * 1024  # bytes that a narrow way holds, at each of its sockets


@dataclass(eq=False)
class Way:
    """One connection that goes through; `dead` for ever once it has lost bytes, or was forgotten."""

    near: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    dead: bool = False
    used: float = 0.0
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        """Both ends are told at once."""
        for _, writer in (self.near, self.far):
            writer.transport.abort()
        for pump in self.pumps:
            pump.cancel()


class Middlebox:
    """Passes bytes on to `address`: each later by `delay_s`, at most `rate` bytes per second and direction.

    With `forgets_s` a connection that was silent for so long is dead, as behind many a NAT: neither end is told.
    """

    def __init__(
        self, address: str, *, delay_s: float = 0.0, rate: float | None = None, forgets_s: float | None = None
    ) -> None:
        self.delay_s, self.rate, self.forgets_s = delay_s, rate, forgets_s
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.socket()
        self._make_narrow(self._listening)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(128)
        self.port = int(self._listening.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self._swallows = False
        self._ways: set[Way] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def half_open(self) -> None:
        """Swallow from now on what comes, and answer nothing: connections stay, and nobody is told."""
        self._do(self._half_open())

    def heal(self) -> None:
        """Let new connections through again; those that lost bytes stay dead."""
        self._do(self._heal())

    def cut(self) -> None:
        """Reset all connections."""
        self._do(self._cut())

    @property
    def open(self) -> int:
        """Connections whose two ends still hold."""
        return len(self._ways)

    def close(self) -> None:
        """End it."""
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _half_open(self) -> None:
        self._swallows = True
        for way in self._ways:
            way.dead = True

    async def _heal(self) -> None:
        self._swallows = False

    async def _cut(self) -> None:
        for way in set(self._ways):
            way.reset()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._stop = asyncio.Event()
        try:
            self._loop.run_until_complete(self._serve())
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._accept, sock=self._listening, limit=self._block):
            await self._stop.wait()

    def _make_narrow(self, sock: socket.socket) -> None:
        """Hold little on the way, in packets of a real network: loopback's own, of 64 KiB, would jam."""
        if self.rate is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, buffer, NARROW)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        self._make_narrow(sock)
        sock.setblocking(False)
        await self._loop.sock_connect(sock, self._target)
        return await asyncio.open_connection(sock=sock, limit=self._block)

    @property
    def _block(self) -> int:
        return BLOCK if self.rate is None else max(1024, min(BLOCK, int(self.rate / 20)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await self._dial()
        except OSError:
            writer.transport.abort()
            return
        way = Way((reader, writer), far, dead=self._swallows, used=self._loop.time())
        for end in (writer, far[1]):
            end.transport.set_write_buffer_limits(self._block)
        self._ways.add(way)
        way.pumps = [
            asyncio.create_task(self._pump(way, way.near[0], way.far[1])),
            asyncio.create_task(self._pump(way, way.far[0], way.near[1])),
        ]
        try:
            await asyncio.wait(way.pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            way.reset()
            self._ways.discard(way)

    async def _pump(self, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction, until its source ends and all has arrived; what is on its way waits in a line."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1 if self.rate else 0)
        passing = asyncio.create_task(self._pass(line, sink))
        try:
            with suppress(OSError):
                while data := await source.read(self._block):
                    now = self._loop.time()
                    way.dead = way.dead or (self.forgets_s is not None and now - way.used > self.forgets_s)
                    way.used = now
                    if not way.dead:
                        await line.put((now + self.delay_s, data))
            if way.dead:  # nor is the other end told that this one has gone
                await asyncio.Event().wait()
            await line.join()
            with suppress(OSError):
                sink.close()
                await sink.wait_closed()
        finally:
            passing.cancel()

    async def _pass(self, line: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        free_at = 0.0  # when the narrow way has carried what went before
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(due, free_at) - self._loop.time())
            if self.rate is not None:
                free_at = max(free_at, due) + len(data) / self.rate
            with suppress(OSError):
                sink.write(data)
                await sink.drain()
            line.task_done()
