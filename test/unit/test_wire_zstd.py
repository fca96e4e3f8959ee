"""Chunks as zstd frames: what is sent is what arrives, from any offset, and nothing is inflated beyond a chunk."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from fedn.errors import BadInput, CombinerUnreachable
from fedn.wire import transfer
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import download, upload
from fedn.wire.v1.blobs_pb2 import DownloadRequest, UploadRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub
from fedn.wire.zstd import MOST_CHUNK_BYTES, outgoing, pack, unpack

if TYPE_CHECKING:
    from test.conftest import ServeBlobs


def blob(size: int) -> bytes:
    """Half of it can be made shorter, in turns of 100,000 bytes."""
    dice = random.Random(size)
    pieces = [dice.randbytes(100_000) if k % 2 else bytes(100_000) for k in range(-(-size // 100_000))]
    return b"".join(pieces)[:size]


def frame_of(size: int) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(size))


def test_a_chunk_survives_and_one_that_does_not_shrink_is_left_as_it_is() -> None:
    chunk = bytes(range(256)) * 4096
    frame = pack(chunk)
    assert frame is not None
    assert len(frame) < len(chunk) / 10
    assert unpack(frame) == chunk
    assert pack(random.Random(1).randbytes(2**20)) is None


def lying(told: int) -> bytes:
    """A frame of 4 MiB whose header tells another size."""
    frame = bytearray(frame_of(MOST_CHUNK_BYTES))
    assert frame[4] >> 6 == 2  # the content's size is in 4 bytes, after the frame's descriptor: a single segment
    frame[5:9] = told.to_bytes(4, "little")
    return bytes(frame)


def without_size() -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(b"chunk") + packer.flush()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (frame_of(MOST_CHUNK_BYTES + 1), f"is of {MOST_CHUNK_BYTES + 1} bytes"),
        (frame_of(100 * 2**20), "is of 104857600 bytes"),
        (frame_of(0), "is of 0 bytes"),
        (lying(1000), "not a zstd frame"),
        (lying(MOST_CHUNK_BYTES - 1), "not a zstd frame"),
        (without_size(), "does not tell the size"),
        (frame_of(100) + b"more", "not a zstd frame"),
        (frame_of(100) * 2, "not a zstd frame"),
        (frame_of(100)[:-1], "not a zstd frame"),
        (b"no frame at all", "not a zstd frame"),
        ((0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"skip", "not a zstd frame"),
    ],
)
def test_what_is_not_one_frame_of_a_chunk_is_refused(frame: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        unpack(frame)


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = frame_of(100 * 2**20)
    assert len(bomb) < 20_000

    def inflates(*_: Any) -> None:
        raise AssertionError("it was inflated")

    monkeypatch.setattr(zstandard, "ZstdDecompressor", inflates)
    with pytest.raises(BadInput):
        unpack(bomb)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each message that goes out."""
    sent: list[int] = []

    async def counting(*given: Any, **more: Any) -> AsyncGenerator[tuple[int, bytes], None]:
        async with aclosing(outgoing(*given, **more)) as messages:
            async for size, message in messages:
                sent.append(len(message))
                yield size, message

    monkeypatch.setattr(transfer, "outgoing", counting)
    return sent


async def test_an_upload_in_frames_arrives_whole_in_fewer_bytes(
    tmp_path: Path, serve_blobs: ServeBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve_blobs()
    data = blob(3_000_001)
    (tmp_path / "blob").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    sent, moved = counted(monkeypatch), list[int]()
    async with server.dial() as channel:
        await upload(channel, tmp_path / "blob", digest=digest, zstd=True, settings=server.settings, moved=moved.append)
    assert (server.shelf.folder / digest).read_bytes() == data
    assert sum(moved) == len(data)  # progress is counted in the blob's own bytes
    assert 0.5 * len(data) < sum(sent) < 0.65 * len(data)  # the half that does not shrink travels as it is


@pytest.mark.parametrize("done", [0, 777_777, 3_000_001])
async def test_transfers_in_frames_go_on_from_any_offset(tmp_path: Path, serve_blobs: ServeBlobs, done: int) -> None:
    server = await serve_blobs()
    data = blob(3_000_001)
    digest, path = hashlib.sha256(data).hexdigest(), tmp_path / "blob"
    path.write_bytes(data)
    server.shelf.part(digest).write_bytes(data[:done])
    back = tmp_path / "back"
    back.with_name("back.part").write_bytes(data[:done])
    async with server.dial() as channel:
        await upload(channel, path, digest=digest, zstd=True, settings=server.settings)
        await download(channel, digest=digest, size=len(data), destination=back, zstd=True, settings=server.settings)
    assert (server.shelf.folder / digest).read_bytes() == back.read_bytes() == data


async def test_frames_come_only_to_those_who_ask_for_them(tmp_path: Path, serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    digest = server.shelf.put(bytes(300_000))
    async with server.dial() as channel:
        for zstd in (False, True):
            call = BlobsStub(channel).Download(DownloadRequest(digest=digest, zstd=zstd))
            steps = [reply.WhichOneof("step") async for reply in call]
            assert set(steps[1:]) == {"zstd" if zstd else "data"}


async def test_a_bomb_is_refused_by_the_server_and_leaves_nothing(serve_blobs: ServeBlobs) -> None:
    server = await serve_blobs()
    size = 200 * 2**20
    digest = hashlib.sha256(bytes(size)).hexdigest()
    async with server.dial() as channel:
        call = BlobsStub(channel).Upload()
        await call.write(UploadRequest(start=UploadStart(digest=digest, size=size)))
        await call.read()
        await call.write(UploadRequest(zstd=frame_of(size)))
        with pytest.raises(BadInput, match=f"is of {size} bytes"):
            async with rpc_errors(unreachable=CombinerUnreachable):
                await call.read()
    assert not server.shelf.part(digest).exists() or not server.shelf.part(digest).stat().st_size
