from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest

from fedn.errors import BadInput, CombinerUnreachable, FednError, NotFound, ReducerUnreachable, tree
from fedn.wire.calls import calling
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.status import Context, answers_errors, rpc_errors, streams_errors
from fedn.wire.v1.blobs_pb2 import (
    DownloadReply,
    DownloadRequest,
    StatReply,
    StatRequest,
    UploadReply,
    UploadRequest,
)
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer, BlobsStub, add_BlobsServicer_to_server


class Refusing(BlobsServicer):
    """Raises whatever it is given."""

    error: FednError | Exception = FednError()

    @answers_errors
    async def Stat(self, request: StatRequest, context: Context) -> StatReply:  # noqa: N802
        raise self.error

    @streams_errors
    async def Download(  # noqa: N802
        self, request: DownloadRequest, context: Context
    ) -> AsyncGenerator[DownloadReply, None]:
        yield DownloadReply(data=b"before")
        raise self.error

    @streams_errors
    async def Upload(  # noqa: N802
        self, request_iterator: AsyncIterator[UploadRequest], context: Context
    ) -> AsyncGenerator[UploadReply, None]:
        await anext(request_iterator)
        raise self.error
        yield UploadReply()


@dataclass(frozen=True)
class Refused:
    service: Refusing
    channel: grpc.aio.Channel


@pytest.fixture
async def refusing() -> AsyncIterator[Refused]:
    server, service = new_server(), Refusing()
    add_BlobsServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    async with dial(f"127.0.0.1:{port}") as channel:
        yield Refused(service, channel)
    await server.stop(None)


@pytest.mark.parametrize("error", list(tree()), ids=lambda cls: cls.__name__)
async def test_every_error_arrives_as_its_own_class(error: type[FednError], refusing: Refused) -> None:
    stub = BlobsStub(refusing.channel)
    refusing.service.error = error("because of «x»\nand 日本")
    with pytest.raises(FednError) as unary:
        async with rpc_errors(unreachable=ReducerUnreachable):
            await stub.Stat(StatRequest())
    with pytest.raises(FednError) as stream:
        async with rpc_errors(unreachable=ReducerUnreachable):
            _ = [reply async for reply in stub.Download(DownloadRequest())]
    for caught in (unary, stream):
        assert type(caught.value) is error
        assert caught.value.reason == "because of «x»\nand 日本"


async def test_the_grpc_status_is_that_of_the_error(refusing: Refused) -> None:
    stub = BlobsStub(refusing.channel)
    refusing.service.error = NotFound("gone")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Stat(StatRequest())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "gone"


async def test_a_long_reason_is_cut_between_characters_and_still_arrives(refusing: Refused) -> None:
    stub = BlobsStub(refusing.channel)
    refusing.service.error = BadInput("日" * 100_000)
    with pytest.raises(BadInput) as caught:
        async with rpc_errors(unreachable=ReducerUnreachable):
            await stub.Stat(StatRequest())
    assert set(caught.value.reason) == {"日"}
    assert 500 < len(caught.value.reason) < 700


async def test_a_server_that_is_not_there_is_unreachable(refusing: Refused) -> None:
    async with dial("127.0.0.1:1") as channel:
        with pytest.raises(CombinerUnreachable, match=r"127\.0\.0\.1:1"):
            async with rpc_errors(unreachable=CombinerUnreachable):
                await BlobsStub(channel).Stat(StatRequest())


async def test_a_missed_deadline_is_unreachable(refusing: Refused) -> None:
    upload = BlobsStub(refusing.channel).Upload(timeout=0.05)
    with pytest.raises(ReducerUnreachable):
        async with rpc_errors(unreachable=ReducerUnreachable):
            await upload.read()


async def test_another_failure_of_grpc_keeps_its_name() -> None:
    server = new_server()
    port = await listen(server, "127.0.0.1", 0)
    async with dial(f"127.0.0.1:{port}") as channel:
        with pytest.raises(FednError, match="UNIMPLEMENTED") as caught:
            async with rpc_errors(unreachable=ReducerUnreachable):
                await BlobsStub(channel).Stat(StatRequest())
    assert type(caught.value) is FednError
    await server.stop(None)


async def test_a_refusal_reaches_a_client_that_goes_on_writing(refusing: Refused) -> None:
    # grpc.aio would say INTERNAL in nine of ten of these
    stub = BlobsStub(refusing.channel)
    refusing.service.error = BadInput("enough")
    for _ in range(30):
        with pytest.raises(BadInput, match="enough"):
            await _write_on(stub.Upload())


async def test_leaving_the_block_cancels_the_call(refusing: Refused) -> None:
    stub = BlobsStub(refusing.channel)
    async with calling(stub.Upload(), unreachable=CombinerUnreachable) as call:
        pass
    assert call.cancelled()


async def _write_on(upload: grpc.aio.StreamStreamCall[UploadRequest, UploadReply]) -> None:
    async with calling(upload, unreachable=CombinerUnreachable) as call:
        while True:
            await call.write(UploadRequest(data=bytes(100_000)))


async def test_a_write_to_who_has_gone_is_no_error_of_ours(refusing: Refused, caplog: pytest.LogCaptureFixture) -> None:
    """gRPC would log a traceback for each client that dies in the middle of a download."""
    refusing.service.error = grpc.aio.InternalError("a write has failed")
    stub = BlobsStub(refusing.channel)
    with pytest.raises(CombinerUnreachable):  # by the deadline: nobody is there to be answered
        async with rpc_errors(unreachable=CombinerUnreachable):
            await stub.Stat(StatRequest(), timeout=0.5)
    async with calling(stub.Download(DownloadRequest(), timeout=0.5), unreachable=CombinerUnreachable) as call:
        assert (await call.read()) == DownloadReply(data=b"before")
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    assert caplog.text == ""
