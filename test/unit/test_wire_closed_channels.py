"""A channel that its owner closes while others use it: each call ends, as one that lost its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fedn.errors import CombinerUnreachable
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import download, upload
from fedn.wire.v1.blobs_pb2 import StatRequest
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub

if TYPE_CHECKING:
    from test.conftest import BlobServer, ServeBlobs

SIZE = 8_000_000
MOMENTS = [*range(40), 100, 300]  # turns of the event loop between the call and the end of its channel
Use = Callable[[grpc.aio.Channel, "BlobServer", Path], Awaitable[None]]


async def _upload(channel: grpc.aio.Channel, server: BlobServer, folder: Path) -> None:
    data = bytes(SIZE)
    path = folder / "blob"
    path.write_bytes(data)
    digest = server.shelf.put(data)
    (server.shelf.folder / digest).unlink()
    await upload(channel, path, digest=digest)


async def _download(channel: grpc.aio.Channel, server: BlobServer, folder: Path) -> None:
    digest = server.shelf.put(bytes(SIZE))
    await download(channel, digest=digest, size=SIZE, destination=folder / "out")
    (folder / "out").unlink()


async def _stat(channel: grpc.aio.Channel, server: BlobServer, folder: Path) -> None:
    async with rpc_errors(unreachable=CombinerUnreachable):
        await BlobsStub(channel).Stat(StatRequest(digest="0" * 64), timeout=60)


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("use", [_upload, _download, _stat])
async def test_who_uses_a_channel_that_is_closed_is_told_so(
    use: Use, listens: bool, serve_blobs: ServeBlobs, tmp_path: Path
) -> None:
    server = await serve_blobs()
    if not listens:
        await server.stop()
    endings = set()
    for moment in MOMENTS:
        channel = server.dial()
        using = asyncio.ensure_future(use(channel, server, tmp_path))
        for _ in range(moment):
            await asyncio.sleep(0)
        await channel.close()
        ended, _ = await asyncio.wait([using], timeout=30)
        assert ended, f"the call that was closed after {moment} turns has not ended"
        assert not using.cancelled()
        endings.add(type(using.exception()))
    assert endings <= {CombinerUnreachable, type(None)}
    assert CombinerUnreachable in endings


async def test_who_is_cancelled_while_it_calls_is_cancelled(serve_blobs: ServeBlobs, tmp_path: Path) -> None:
    server = await serve_blobs()
    for moment in MOMENTS[:30]:
        async with server.dial() as channel:
            using = asyncio.ensure_future(_upload(channel, server, tmp_path))
            for _ in range(moment):
                await asyncio.sleep(0)
            using.cancel()
            await asyncio.wait([using], timeout=30)
            assert using.cancelled()
