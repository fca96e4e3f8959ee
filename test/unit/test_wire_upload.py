from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fedn.errors import (
    CombinerUnreachable,
    DigestMismatch,
    DiskFull,
    FolderUnusable,
    NotAParticipant,
    TransferFailed,
    TransferStalled,
)
from fedn.wire.calls import calling
from fedn.wire.transfer import until_done, upload
from fedn.wire.v1.blobs_pb2 import StatRequest, UploadReply, UploadRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub

if TYPE_CHECKING:
    from test.conftest import BlobServer, ServeBlobs

MB = 1_000_000
Stream = grpc.aio.StreamStreamCall[UploadRequest, UploadReply]


class Blob:
    def __init__(self, folder: Path, *, size: int, seed: int = 0) -> None:
        self.data = random.Random(seed).randbytes(size)
        self.digest = hashlib.sha256(self.data).hexdigest()
        self.size = size
        self.path = folder / f"blob{seed}"
        self.path.write_bytes(self.data)

    def stored_at(self, server: BlobServer) -> bool:
        path = server.shelf.find(self.digest)
        return path is not None and path.read_bytes() == self.data

    async def begin(self, channel: grpc.aio.Channel, *, upto: int, client_id: str = "") -> Stream:
        """Start an upload by hand and send it up to a byte."""
        call = BlobsStub(channel).Upload()
        start = UploadStart(digest=self.digest, size=self.size, client_id=client_id)
        await call.write(UploadRequest(start=start))
        reply = await call.read()
        assert isinstance(reply, UploadReply)
        for at in range(reply.grant.offset, upto, 100_000):
            await call.write(UploadRequest(data=self.data[at : min(at + 100_000, upto)]))
        return call


@pytest.fixture
def blob(tmp_path: Path) -> Blob:
    return Blob(tmp_path, size=8 * MB)


async def test_a_blob_arrives_whole_and_leaves_no_part(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(), [0]
    async with server.dial() as channel:
        await upload(channel, blob.path, digest=blob.digest, settings=server.settings, moved=sent.append)
        assert (await server.has(channel, blob.digest, blob.size)).complete
    assert blob.stored_at(server)
    assert sum(sent) == blob.size
    assert [path.name for path in server.shelf.folder.iterdir()] == [blob.digest]


async def test_an_interrupted_upload_goes_on_where_it_ended(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(), [0]
    async with server.dial() as channel:
        call = await blob.begin(channel, upto=3 * MB)
        assert not (await server.has(channel, blob.digest, 3 * MB)).complete
        call.cancel()
        await upload(channel, blob.path, digest=blob.digest, moved=sent.append)
    assert sum(sent) == 5 * MB
    assert blob.stored_at(server)


async def test_a_broken_connection_leaves_the_part(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(at_once=1), [0]
    channel = server.dial()
    await blob.begin(channel, upto=3 * MB, client_id="c")
    await server.has(channel, blob.digest, 3 * MB)
    await channel.close()
    async with server.dial() as channel:
        await upload(channel, blob.path, digest=blob.digest, client_id="c", moved=sent.append)
    assert sum(sent) == 5 * MB
    assert blob.stored_at(server)


async def test_an_upload_survives_a_restart_of_the_server(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent, waits = await serve_blobs(), [0], 0
    async with server.dial() as channel:
        await blob.begin(channel, upto=3 * MB)
        await server.has(channel, blob.digest, 3 * MB)
        await server.stop()

        async def restarts_after_the_second_wait(seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 2:
                await server.start()
                await channel.channel_ready()

        await until_done(
            lambda: upload(channel, blob.path, digest=blob.digest, moved=sent.append),
            give_up=lambda: waits > 5,
            progressed=lambda: sum(sent),
            sleep=restarts_after_the_second_wait,
        )
    assert waits == 2
    assert sum(sent) == 5 * MB
    assert blob.stored_at(server)


async def test_a_stopping_server_makes_the_attempt_one_to_repeat(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=1)
    async with server.dial() as channel, asyncio.TaskGroup() as group:
        async with server.admission:
            waiting = group.create_task(_failure_of(upload(channel, blob.path, digest=blob.digest)))
            await server.admission.queued.wait()
            await server.stop()
        assert isinstance(await waiting, CombinerUnreachable)


async def test_a_blob_that_is_here_moves_no_bytes(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(), [0]
    server.shelf.put(blob.data)
    async with server.admission, server.admission, server.admission, server.dial() as channel:
        await upload(channel, blob.path, digest=blob.digest, moved=sent.append)
    assert sum(sent) == 0


async def test_two_senders_of_the_same_blob_move_it_once(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(), [0]
    async with server.dial() as one, server.dial() as two:
        await asyncio.gather(
            upload(one, blob.path, digest=blob.digest, client_id="1", moved=sent.append),
            upload(two, blob.path, digest=blob.digest, client_id="2", moved=sent.append),
        )
    assert sum(sent) == blob.size
    assert blob.stored_at(server)
    assert server.admission.peak == 1


async def test_a_newer_stream_of_the_same_sender_takes_over(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server, sent = await serve_blobs(at_once=1), [0]
    async with server.dial() as old, server.dial() as new:
        call = await blob.begin(old, upto=3 * MB, client_id="c")
        await server.has(new, blob.digest, 3 * MB)
        async with asyncio.timeout(10):
            await upload(new, blob.path, digest=blob.digest, client_id="c", moved=sent.append)
        failure = await _failure_of(call.read())
    assert sum(sent) == 5 * MB
    assert blob.stored_at(server)
    assert isinstance(failure, grpc.aio.AioRpcError)
    assert failure.code() is grpc.StatusCode.ABORTED


async def test_wrong_bytes_are_refused_and_dropped(blob: Blob, tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server, other = await serve_blobs(), Blob(tmp_path, size=8 * MB, seed=1)
    async with server.dial() as channel:
        with pytest.raises(DigestMismatch):
            await upload(channel, other.path, digest=blob.digest)
        assert list(server.shelf.folder.iterdir()) == []
        await upload(channel, blob.path, digest=blob.digest)
    assert blob.stored_at(server)


async def test_a_part_with_wrong_bytes_costs_one_attempt(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    server.shelf.part(blob.digest).write_bytes(bytes(MB))
    async with server.dial() as channel:
        with pytest.raises(DigestMismatch):
            await upload(channel, blob.path, digest=blob.digest)
        await upload(channel, blob.path, digest=blob.digest)
    assert blob.stored_at(server)


@pytest.mark.parametrize(("left", "sent_again"), [(8 * MB, 0), (9 * MB, 8 * MB)])
async def test_a_full_part_is_kept_and_a_larger_one_dropped(
    left: int, sent_again: int, blob: Blob, serve_blobs: ServeBlobs
) -> None:
    server, sent = await serve_blobs(), [0]
    server.shelf.part(blob.digest).write_bytes((blob.data + bytes(MB))[:left])
    async with server.dial() as channel:
        await upload(channel, blob.path, digest=blob.digest, moved=sent.append)
    assert sum(sent) == sent_again
    assert blob.stored_at(server)


async def test_a_blob_that_ends_early_is_not_stored_but_its_part_stays(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        call = await blob.begin(channel, upto=3 * MB)
        await call.done_writing()
        with pytest.raises(TransferFailed, match="after 3000000 of 8000000 bytes"):
            async with calling(call, unreachable=CombinerUnreachable):
                await call.read()
        assert not (await server.has(channel, blob.digest, 3 * MB)).complete


async def test_ten_uploads_run_three_at_once(tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=3)
    blobs = [Blob(tmp_path, size=MB, seed=seed) for seed in range(10)]
    channels = [server.dial() for _ in blobs]
    await asyncio.gather(
        *(upload(channel, blob.path, digest=blob.digest) for channel, blob in zip(channels, blobs, strict=True))
    )
    for channel in channels:
        await channel.close()
    assert all(blob.stored_at(server) for blob in blobs)
    assert server.admission.peak == 3
    async with asyncio.timeout(5):  # what was said to be stored may have its place for a moment more
        while server.admission.running:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert server.admission.waiting == 0


async def test_a_sender_that_stalls_is_cut_by_the_clock_and_frees_its_place(
    blob: Blob, tmp_path: Path, serve_blobs: ServeBlobs
) -> None:
    server, other = await serve_blobs(at_once=1, silence_s=0.3), Blob(tmp_path, size=MB, seed=1)
    async with server.dial() as channel, server.dial() as second:
        call = await blob.begin(channel, upto=3 * MB)
        async with asyncio.timeout(5):
            await upload(second, other.path, digest=other.digest)
        with pytest.raises(TransferStalled):
            async with calling(call, unreachable=CombinerUnreachable):
                await call.read()
    assert other.stored_at(server)


async def test_waiting_for_admission_is_not_stalling(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs(at_once=1, silence_s=0.2)
    async with server.dial() as channel, asyncio.TaskGroup() as group, server.admission:
        task = group.create_task(upload(channel, blob.path, digest=blob.digest, settings=server.settings))
        _, waiting = await asyncio.wait([task], timeout=1.0)
        assert waiting == {task}
    assert blob.stored_at(server)


async def test_a_cancelled_client_frees_its_place(blob: Blob, tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server, other = await serve_blobs(at_once=1), Blob(tmp_path, size=MB, seed=1)
    async with server.dial() as channel:
        running = await blob.begin(channel, upto=3 * MB)
        waiting = asyncio.create_task(upload(channel, blob.path, digest=blob.digest, client_id="x"))
        behind = asyncio.create_task(upload(channel, other.path, digest=other.digest))
        await server.admission.queued.wait()
        waiting.cancel()
        running.cancel()
        async with asyncio.timeout(5):
            await behind
    assert other.stored_at(server)
    assert not blob.stored_at(server)


async def test_check_refuses_before_a_byte_is_taken(blob: Blob, serve_blobs: ServeBlobs) -> None:
    def check(start: UploadStart) -> None:
        raise NotAParticipant(f"{start.client_id} in {start.round_id}")

    server, sent = await serve_blobs(check=check), [0]
    async with server.dial() as channel:
        with pytest.raises(NotAParticipant, match="c in r"):
            await upload(channel, blob.path, digest=blob.digest, round_id="r", client_id="c", moved=sent.append)
    assert sum(sent) == 0
    assert list(server.shelf.folder.iterdir()) == []


async def test_a_full_disk_is_unavailable_and_frees_the_place(
    blob: Blob, tmp_path: Path, serve_blobs: ServeBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve_blobs(at_once=1)
    server.shelf.part(blob.digest).symlink_to("/dev/full")
    async with server.dial() as channel:
        with pytest.raises(DiskFull, match="the blob cannot be stored: No space left on device"):
            await upload(channel, blob.path, digest=blob.digest)
        server.shelf.part(blob.digest).unlink()
        async with asyncio.timeout(5):
            await upload(channel, blob.path, digest=blob.digest)
    assert blob.stored_at(server)
    assert f"cannot store {blob.digest}" in caplog.text


async def test_a_file_that_is_not_there_is_named(blob: Blob, tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        with pytest.raises(FolderUnusable, match="nothing: No such file or directory"):
            await upload(channel, tmp_path / "nothing", digest=blob.digest)


async def test_stat_knows_nothing_a_part_and_the_whole(blob: Blob, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    async with server.dial() as channel:
        stub, request = BlobsStub(channel), StatRequest(digest=blob.digest)
        nothing = await stub.Stat(request)
        server.shelf.part(blob.digest).write_bytes(b"123")
        part = await stub.Stat(request)
        server.shelf.put(blob.data)
        whole = await stub.Stat(request)
    assert [(reply.complete, reply.size) for reply in (nothing, part, whole)] == [
        (False, 0),
        (False, 3),
        (True, blob.size),
    ]


async def _failure_of(work: Awaitable[object]) -> BaseException | None:
    [result] = await asyncio.gather(work, return_exceptions=True)
    return result if isinstance(result, BaseException) else None
