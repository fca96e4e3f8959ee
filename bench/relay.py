"""A TCP relay in front of a server, which counts the bytes that one process exchanges with it: all of them, as they
are on the wire but for the headers of TCP and IP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 256 * 1024
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # gRPC's sockets are of the latter


@dataclass
class Counted:
    """Bytes of the connections that process `pid` has opened since this was set; up is to the server."""

    port: int = 0
    pid: int = 0
    up: int = 0
    down: int = 0


@contextmanager
def relay(server_port: int) -> Iterator[Counted]:
    """Listen at a free port of loopback, and pass on to ``server_port``, until the block ends."""
    counted, ready, loop = Counted(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _pass_on(reader, writer, server_port, counted)

        async with await asyncio.start_server(passed_on, "127.0.0.1", 0) as server:
            counted.port = server.sockets[0].getsockname()[1]
            ready.set()
            await stop.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield counted
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_port: int, counted: Counted
) -> None:
    counts = bool(counted.pid) and has_port(counted.pid, writer.get_extra_info("peername")[1])

    def up(size: int) -> None:
        counted.up += size * counts

    def down(size: int) -> None:
        counted.down += size * counts

    with suppress(OSError, asyncio.CancelledError):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(_copy(reader, to_server, up), _copy(from_server, writer, down))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    try:
        while data := await reader.read(_READ_BYTES):
            count(len(data))
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def has_port(pid: int, port: int) -> bool:
    """Whether a TCP socket of the process has this local port."""
    inodes = {
        fields[9]
        for table in _TABLES
        for fields in (line.split() for line in table.read_text().splitlines()[1:])
        if int(fields[1].rpartition(":")[2], 16) == port
    }
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed as we looked
            if descriptor.readlink().name.removeprefix("socket:[").removesuffix("]") in inodes:
                return True
    return False
