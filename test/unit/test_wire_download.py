from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fedn.errors import (
    BadInput,
    CombinerUnreachable,
    DigestMismatch,
    FolderUnusable,
    NotFound,
    TransferStalled,
)
from fedn.wire.channel import listen, new_server
from fedn.wire.settings import TransferSettings
from fedn.wire.status import Context
from fedn.wire.transfer import download
from fedn.wire.v1.blobs_pb2 import DownloadGrant, DownloadReply, DownloadRequest
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer, BlobsStub, add_BlobsServicer_to_server

if TYPE_CHECKING:
    from test.conftest import ServeBlobs

MB = 1_000_000
DATA = random.Random(0).randbytes(8 * MB)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    (tmp_path / "client").mkdir()
    return tmp_path / "client" / "model.safetensors"


def _part_of(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part")


async def test_a_blob_arrives_whole_and_leaves_no_part(destination: Path, serve_blobs: ServeBlobs) -> None:
    server, got = await serve_blobs(), [0]
    digest = server.shelf.put(DATA)
    async with server.dial() as channel:
        await download(channel, digest=digest, size=len(DATA), destination=destination, moved=got.append)
    assert destination.read_bytes() == DATA
    assert sum(got) == len(DATA)
    assert list(destination.parent.iterdir()) == [destination]


@pytest.mark.parametrize("there", [3 * MB, 8 * MB])
async def test_a_download_goes_on_where_it_ended(there: int, destination: Path, serve_blobs: ServeBlobs) -> None:
    server, got = await serve_blobs(), [0]
    digest = server.shelf.put(DATA)
    _part_of(destination).write_bytes(DATA[:there])
    async with server.dial() as channel:
        await download(channel, digest=digest, size=len(DATA), destination=destination, moved=got.append)
    assert sum(got) == len(DATA) - there
    assert destination.read_bytes() == DATA


async def test_a_cancelled_download_leaves_its_part_and_frees_its_place(
    destination: Path, serve_blobs: ServeBlobs
) -> None:
    server, got = await serve_blobs(at_once=1), [0]
    digest = server.shelf.put(DATA)

    def stop_halfway(count: int) -> None:
        got.append(count)
        if sum(got) >= 4 * MB:
            task.cancel()

    async with server.dial() as channel:
        task = asyncio.create_task(
            download(channel, digest=digest, size=len(DATA), destination=destination, moved=stop_halfway)
        )
        await asyncio.wait([task])
        assert task.cancelled()
        left = _part_of(destination).stat().st_size
        assert 0 < left <= sum(got) < len(DATA)
        assert _part_of(destination).read_bytes() == DATA[:left]
        async with asyncio.timeout(5):
            await download(channel, digest=digest, size=len(DATA), destination=destination)
    assert destination.read_bytes() == DATA


async def test_a_blob_that_rotted_at_its_source_is_noticed(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    digest = server.shelf.put(DATA)
    (server.shelf.folder / digest).write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    async with server.dial() as channel:
        with pytest.raises(DigestMismatch):
            await download(channel, digest=digest, size=len(DATA), destination=destination)
    assert list(destination.parent.iterdir()) == []


@pytest.mark.parametrize("announced", [8 * MB - 1, 8 * MB + 1])
async def test_another_size_than_announced_is_refused(
    announced: int, destination: Path, serve_blobs: ServeBlobs
) -> None:
    server, got = await serve_blobs(), [0]
    digest = server.shelf.put(DATA)
    async with server.dial() as channel:
        with pytest.raises(BadInput, match=f"has 8000000 bytes, not the {announced}"):
            await download(channel, digest=digest, size=announced, destination=destination, moved=got.append)
    assert sum(got) == 0
    assert not destination.exists()


async def test_a_missing_blob_is_not_found(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(NotFound, match="0" * 64):
            await download(channel, digest="0" * 64, size=1, destination=destination)


async def test_a_blob_that_went_while_its_turn_came_is_not_found(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=1)
    digest = server.shelf.put(DATA)
    async with server.dial() as channel:
        async with server.admission:
            task = asyncio.create_task(download(channel, digest=digest, size=len(DATA), destination=destination))
            await server.admission.queued.wait()
            (server.shelf.folder / digest).unlink()
        with pytest.raises(NotFound):
            await task


async def test_a_server_that_is_gone_is_unreachable(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    digest = server.shelf.put(DATA)
    async with server.dial() as channel:
        await server.stop()
        with pytest.raises(CombinerUnreachable):
            await download(channel, digest=digest, size=len(DATA), destination=destination)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    digest = server.shelf.put(DATA)
    async with server.dial() as channel:
        with pytest.raises(FolderUnusable, match="nowhere: No such file or directory"):
            await download(channel, digest=digest, size=len(DATA), destination=tmp_path / "nowhere" / "model")


async def test_a_reader_that_takes_nothing_frees_its_place(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=1, silence_s=0.3)
    digest = server.shelf.put(DATA * 4)
    async with server.dial() as idle, server.dial() as channel:
        call = BlobsStub(idle).Download(DownloadRequest(digest=digest))
        await call.read()
        async with asyncio.timeout(5):
            await download(channel, digest=digest, size=4 * len(DATA), destination=destination)
        call.cancel()
    assert destination.read_bytes() == DATA * 4


async def test_waiting_for_admission_is_not_stalling(destination: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=1, silence_s=0.2)
    digest = server.shelf.put(DATA)
    async with server.dial() as channel, asyncio.TaskGroup() as group, server.admission:
        task = group.create_task(
            download(channel, digest=digest, size=len(DATA), destination=destination, settings=server.settings)
        )
        _, waiting = await asyncio.wait([task], timeout=1.0)
        assert waiting == {task}
    assert destination.read_bytes() == DATA


class Dishonest(BlobsServicer):
    """Sends whatever it is given."""

    replies: tuple[DownloadReply, ...] = ()
    goes_silent = False

    async def Download(self, request: DownloadRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        for reply in self.replies:
            await context.write(reply)
        if self.goes_silent:
            await asyncio.Event().wait()


@pytest.mark.parametrize("extra", [1, 1000])
async def test_bytes_beyond_the_end_are_refused_and_the_part_dropped(
    extra: int, destination: Path, serve_blobs: ServeBlobs
) -> None:
    service, server = Dishonest(), new_server()  # type: ignore[abstract]
    service.replies = (
        DownloadReply(grant=DownloadGrant(size=10, offset=0)),
        DownloadReply(data=bytes(10)),
        DownloadReply(data=bytes(extra)),
    )
    with pytest.raises(BadInput, match="more bytes than the 10"):
        await _from(service, server, destination)
    assert list(destination.parent.iterdir()) == []


async def test_a_server_that_goes_silent_is_cut_by_the_clock(destination: Path) -> None:
    service, server = Dishonest(), new_server()  # type: ignore[abstract]
    service.replies = (DownloadReply(grant=DownloadGrant(size=10, offset=0)), DownloadReply(data=bytes(4)))
    service.goes_silent = True
    with pytest.raises(TransferStalled):
        await _from(service, server, destination)
    assert _part_of(destination).read_bytes() == bytes(4)


async def _from(service: Dishonest, server: grpc.aio.Server, destination: Path) -> None:
    add_BlobsServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    settings = TransferSettings(chunk_bytes=1000, min_rate_bytes_s=5000)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await download(channel, digest="0" * 64, size=10, destination=destination, settings=settings)
    finally:
        await server.stop(None)
