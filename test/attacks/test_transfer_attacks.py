"""What a hostile peer may try with the transfer protocol, and what it gets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fedn.errors import BadInput, CombinerUnreachable, FednError, ModelTooLarge, TransferFailed, TransferStalled
from fedn.wire.calls import calling
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.status import Context, rpc_errors
from fedn.wire.transfer import download, upload
from fedn.wire.v1.blobs_pb2 import (
    DownloadRequest,
    StatRequest,
    UploadGrant,
    UploadReply,
    UploadRequest,
    UploadStart,
    UploadStored,
)
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer, BlobsStub, add_BlobsServicer_to_server

if TYPE_CHECKING:
    from test.conftest import ServeBlobs

BLOB = b"0123456789"
DIGEST = hashlib.sha256(BLOB).hexdigest()
NAMES = [
    "",
    "../x",
    "../" * 20 + "etc/passwd",
    "/etc/passwd",
    DIGEST.upper(),
    DIGEST[:-1],
    DIGEST + "0",
    DIGEST + "\n",
    DIGEST + "\x00",
    "." * 64,
    "/" * 64,
    "٣" * 64,
    DIGEST[:-1] + "g",
]


async def _say(channel: grpc.aio.Channel, *requests: UploadRequest) -> None:
    """Say it all, and hear what the other end says meanwhile."""
    async with calling(BlobsStub(channel).Upload(iter(requests)), unreachable=CombinerUnreachable) as call:
        async for _ in call:
            pass


def _start(digest: str = DIGEST, size: int = len(BLOB)) -> UploadRequest:
    return UploadRequest(start=UploadStart(digest=digest, size=size))


def _everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_no_digest_never_comes_near_a_path(
    name: str, tmp_path: Path, serve_blobs: ServeBlobs
) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(BadInput, match="not a sha256"):
            await _say(channel, _start(name), UploadRequest(data=BLOB))
        with pytest.raises(BadInput, match="not a sha256"):
            async with calling(
                BlobsStub(channel).Download(DownloadRequest(digest=name)), unreachable=CombinerUnreachable
            ) as call:
                await call.read()
        with pytest.raises(BadInput, match="not a sha256"):
            async with rpc_errors(unreachable=CombinerUnreachable):
                await BlobsStub(channel).Stat(StatRequest(digest=name))
        with pytest.raises(BadInput, match="not a sha256"):
            await download(channel, digest=name, size=1, destination=tmp_path / "out")
        with pytest.raises(BadInput, match="not a sha256"):
            await upload(channel, Path(__file__), digest=name)
    assert _everything_below(tmp_path) == ["shelf"]


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "begins with start"),
        ([UploadRequest()], "begins with start"),
        ([UploadRequest(data=BLOB)], "begins with start"),
        ([_start(size=0)], "at least one byte"),
        ([_start(), UploadRequest(data=BLOB[:3]), _start()], "data only"),
        ([_start(), UploadRequest()], "data only"),
        ([_start(), UploadRequest(data=BLOB + b"!")], "more bytes than the 10"),
        ([_start(), UploadRequest(data=BLOB), UploadRequest(data=b"!")], "more bytes than the 10"),
    ],
)
async def test_what_is_no_upload_is_refused_and_nothing_is_stored(
    requests: list[UploadRequest], reason: str, serve_blobs: ServeBlobs
) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(BadInput, match=reason):
            await _say(channel, *requests)
    assert server.shelf.find(DIGEST) is None
    assert server.admission.running == 0


async def test_more_bytes_than_announced_drop_the_part(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(BadInput, match="more bytes"):
            await _say(channel, _start(), *[UploadRequest(data=bytes(100_000))] * 50)
    assert _everything_below(server.shelf.folder) == []


@pytest.mark.parametrize("size", [101, 2**40, 2**64 - 1])
async def test_a_huge_announcement_is_refused_before_anything_is_allocated(size: int, serve_blobs: ServeBlobs) -> None:
    def check(start: UploadStart) -> None:
        if start.size > 100:
            raise ModelTooLarge(f"{start.size} bytes are more than 100")

    server = await serve_blobs(check=check)
    async with server.dial() as channel:
        with pytest.raises(ModelTooLarge, match=f"{size} bytes are more than 100"):
            await _say(channel, _start(size=size), UploadRequest(data=BLOB))
    assert _everything_below(server.shelf.folder) == []


async def test_an_announcement_reserves_nothing(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(FednError, match="after 10 of 18446744073709551615 bytes"):
            await _say(channel, _start(size=2**64 - 1), UploadRequest(data=BLOB))
    assert server.shelf.part(DIGEST).stat().st_blocks * 512 <= 4096


async def test_another_size_for_a_blob_that_is_here_is_refused(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    server.shelf.put(BLOB)
    async with server.dial() as channel:
        with pytest.raises(BadInput, match="has 10 bytes, not the 11"):
            await _say(channel, _start(size=11))
    assert (server.shelf.folder / DIGEST).read_bytes() == BLOB


async def test_an_offset_beyond_the_end_is_refused(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    server.shelf.put(BLOB)
    async with server.dial() as channel:
        for offset in (11, 2**63, 2**64 - 1):
            request = DownloadRequest(digest=DIGEST, offset=offset)
            with pytest.raises(BadInput, match=f"offset {offset} is beyond"):
                async with calling(BlobsStub(channel).Download(request), unreachable=CombinerUnreachable) as call:
                    await call.read()


async def test_a_trickle_cannot_hold_a_place(serve_blobs: ServeBlobs) -> None:
    # each byte comes well before silence would be cut
    server = await serve_blobs(at_once=1, silence_s=0.5)
    async with server.dial() as channel:
        with pytest.raises(TransferStalled):
            async with asyncio.timeout(5):
                await _trickle(channel)
    assert server.admission.running == 0


async def _trickle(channel: grpc.aio.Channel) -> None:
    async with calling(BlobsStub(channel).Upload(), unreachable=CombinerUnreachable) as call:
        await call.write(_start(size=10**6))
        await call.read()
        for _ in range(100):
            await call.write(UploadRequest(data=b"x"))
            await asyncio.sleep(0.1)


async def test_a_stream_that_never_starts_is_cut(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(silence_s=0.2)
    async with server.dial() as channel, asyncio.timeout(5):
        with pytest.raises(TransferStalled):
            async with calling(BlobsStub(channel).Upload(), unreachable=CombinerUnreachable) as call:
                await call.read()


async def test_empty_chunks_move_nothing(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(silence_s=0.3)
    async with server.dial() as channel, asyncio.timeout(5):
        await _say(channel, _start(), *[UploadRequest(data=b"")] * 100, UploadRequest(data=BLOB))
    assert (server.shelf.folder / DIGEST).read_bytes() == BLOB


class Dishonest(BlobsServicer):
    """Answers the start of an upload with whatever it is given."""

    replies: tuple[UploadReply, ...] = ()

    async def Upload(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[UploadRequest], context: Context
    ) -> None:
        await anext(request_iterator)
        for reply in self.replies:
            await context.write(reply)


@pytest.mark.parametrize(
    ("replies", "error", "reason"),
    [
        ([], TransferFailed, "where to go on"),
        ([UploadReply(stored=UploadStored())], TransferFailed, "where to go on"),
        ([UploadReply(grant=UploadGrant(offset=11))], TransferFailed, "goes on from 11, beyond the 10 bytes"),
        ([UploadReply(grant=UploadGrant(offset=10))], TransferFailed, "did not say that it has stored"),
        ([UploadReply(grant=UploadGrant(offset=10))] * 2, TransferFailed, "did not say that it has stored"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_not_believed(
    replies: list[UploadReply], error: type[FednError], reason: str, tmp_path: Path
) -> None:
    service, server = Dishonest(), new_server()  # type: ignore[abstract]
    service.replies = tuple(replies)
    add_BlobsServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    (tmp_path / "blob").write_bytes(BLOB)
    async with dial(f"127.0.0.1:{port}") as channel:
        with pytest.raises(error, match=reason):
            await upload(channel, tmp_path / "blob", digest=DIGEST)
    await server.stop(None)


async def test_a_server_that_ends_the_call_early_does_not_count_as_done(tmp_path: Path) -> None:
    service, server = Dishonest(), new_server()  # type: ignore[abstract]
    service.replies = (UploadReply(grant=UploadGrant(offset=0)),)
    add_BlobsServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    (tmp_path / "blob").write_bytes(bytes(20_000_000))
    async with dial(f"127.0.0.1:{port}") as channel:
        with pytest.raises((TransferFailed, CombinerUnreachable)):
            await upload(channel, tmp_path / "blob", digest=DIGEST)
    await server.stop(None)
