"""Pings on silent connections, with a real server and client that ping at different times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from fedn.wire.channel import dial, listen, new_server
from fedn.wire.v1.blobs_pb2 import UploadGrant, UploadReply, UploadRequest
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer, BlobsStub, add_BlobsServicer_to_server
from test.middlebox import Middlebox

SILENT = 600.0  # as good as no pings


class Watching(BlobsServicer):
    """Says 1, then 2 when the test lets it; knows when its call has ended."""

    def __init__(self) -> None:
        self.go_on, self.ended = asyncio.Event(), asyncio.Event()

    async def Upload(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[UploadRequest], context: grpc.aio.ServicerContext[object, UploadReply]
    ) -> None:
        try:
            await context.write(UploadReply(grant=UploadGrant(offset=1)))
            await self.go_on.wait()
            await context.write(UploadReply(grant=UploadGrant(offset=2)))
        finally:
            self.ended.set()


@asynccontextmanager
async def watching(keepalive_s: float) -> AsyncIterator[tuple[Watching, str]]:
    service, server = Watching(), new_server(keepalive_s=keepalive_s)  # type: ignore[abstract]
    add_BlobsServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    yield service, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.mark.parametrize(("client_s", "server_s"), [(1.0, SILENT), (SILENT, 1.0), (1.0, 1.0)])
async def test_who_pings_notices_a_dead_connection(client_s: float, server_s: float) -> None:
    async with watching(server_s) as (service, address):
        way = Middlebox(address)
        async with dial(way.address, keepalive_s=client_s) as channel:
            call = BlobsStub(channel).Upload()
            assert offset_of(await call.read()) == 1
            way.half_open()
            async with asyncio.timeout(10):
                if client_s < SILENT:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call.read()
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                if server_s < SILENT:
                    await service.ended.wait()
            assert service.ended.is_set() == (server_s < SILENT)
            assert call.done() == (client_s < SILENT)
        way.close()


async def test_a_peer_that_pings_each_second_is_not_turned_away() -> None:
    async with watching(SILENT) as (service, address), dial(address, keepalive_s=1) as channel:
        call = BlobsStub(channel).Upload()
        assert offset_of(await call.read()) == 1
        gone = asyncio.ensure_future(call.code())
        _, going_on = await asyncio.wait([gone], timeout=4.6)  # gRPC bears two pings too many; this is for four
        assert going_on == {gone}
        service.go_on.set()
        assert offset_of(await call.read()) == 2
        assert await gone is grpc.StatusCode.OK


def offset_of(reply: object) -> int:
    assert isinstance(reply, UploadReply)
    return int(reply.grant.offset)
