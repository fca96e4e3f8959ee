"""The roles' calls to the reducer's REST interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from gunicorn.config import Config

from fedn.errors import ReducerUnreachable
from fedn.wire import rest
from fedn.wire.rest import async_client, call


@asynccontextmanager
async def impatient() -> AsyncIterator[str]:
    """A server that answers a connection's first request, and ends it at the second: it was idle for too long."""

    served = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*(task for task in served if task))


async def test_a_connection_that_was_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with impatient() as address:
        monkeypatch.setattr(rest, "IDLE_S", 600.0)
        async with async_client(address) as http:
            await call(http, "GET", "/")
            with pytest.raises(ReducerUnreachable, match="disconnected"):
                await call(http, "GET", "/")
        monkeypatch.setattr(rest, "IDLE_S", 0.0)
        async with async_client(address) as http:
            for _ in range(3):
                await call(http, "GET", "/")


def test_the_reducer_keeps_idle_connections_for_longer() -> None:
    assert Config().keepalive / 2 >= rest.IDLE_S
