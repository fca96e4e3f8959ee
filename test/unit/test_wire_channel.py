from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from fedn.errors import PortTaken
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.settings import MESSAGE_LIMIT
from fedn.wire.v1.blobs_pb2 import StatReply, StatRequest
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer, BlobsStub, add_BlobsServicer_to_server


class Echo(BlobsServicer):
    async def Stat(self, request: StatRequest, context: object) -> StatReply:  # noqa: N802
        return StatReply(complete=True, size=len(request.digest))


def _server() -> grpc.aio.Server:
    server = new_server()
    add_BlobsServicer_to_server(Echo(), server)  # type: ignore[abstract]
    return server


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = _server()
    yield await listen(server, "127.0.0.1", 0)
    await server.stop(None)


async def test_a_free_port_is_found_and_answers(port: int) -> None:
    async with dial(f"127.0.0.1:{port}") as channel:
        assert (await BlobsStub(channel).Stat(StatRequest(digest="abc"))).size == 3


async def test_a_taken_port_is_one_sentence_and_silent(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PortTaken, match=rf"^cannot listen at 127.0.0.1:{port}: Address already in use$"):
        await listen(_server(), "127.0.0.1", port)
    assert capfd.readouterr() == ("", "")


async def test_a_port_that_a_foreign_program_holds_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(PortTaken, match="in use"):
        await listen(_server(), "127.0.0.1", held.getsockname()[1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_an_address_that_is_not_ours_is_refused(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PortTaken, match=f"cannot listen at {host}:0"):
        await listen(_server(), host, 0)
    assert capfd.readouterr() == ("", "")


async def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(PortTaken, match="70000"):
        await listen(_server(), "127.0.0.1", 70_000)


async def test_a_restarted_server_gets_its_port_and_its_client_back() -> None:
    first = _server()
    port = await listen(first, "127.0.0.1", 0)
    async with dial(f"127.0.0.1:{port}") as channel:
        await BlobsStub(channel).Stat(StatRequest())
        await first.stop(None)
        second = _server()
        assert await listen(second, "127.0.0.1", port) == port
        async with asyncio.timeout(10):
            reply = await BlobsStub(channel).Stat(StatRequest(digest="back"), wait_for_ready=True)
        assert reply.size == 4
        await second.stop(None)


async def test_messages_go_up_to_the_limit_and_not_beyond(port: int) -> None:
    async with dial(f"127.0.0.1:{port}") as channel:
        stub = BlobsStub(channel)
        assert (await stub.Stat(StatRequest(digest="x" * (MESSAGE_LIMIT - 100)))).size == MESSAGE_LIMIT - 100
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Stat(StatRequest(digest="x" * (MESSAGE_LIMIT + 100)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_server_itself_refuses_a_message_beyond_the_limit(port: int) -> None:
    async with dial(f"127.0.0.1:{port}", options=(("grpc.max_send_message_length", -1),)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await BlobsStub(channel).Stat(StatRequest(digest="x" * (MESSAGE_LIMIT + 100)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_server_takes_so_many_connections_and_others_when_there_is_room_again() -> None:
    server = new_server(connections=2)
    add_BlobsServicer_to_server(Echo(), server)  # type: ignore[abstract]
    address = f"127.0.0.1:{await listen(server, '127.0.0.1', 0)}"
    one, two, three = dial(address), dial(address), dial(address)
    for channel in (one, two):
        await BlobsStub(channel).Stat(StatRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await BlobsStub(three).Stat(StatRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await one.close()
    async with asyncio.timeout(20):
        assert (await BlobsStub(three).Stat(StatRequest(digest="in"), wait_for_ready=True)).size == 2
    for channel in (two, three):
        await channel.close()
    await server.stop(None)
