"""Chunks as zstd frames (RFC 8878), each by itself, so that a transfer goes on from any offset.

The header of a frame tells the chunk's size, and it is believed only within a limit: nothing larger is inflated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import zstandard

from fedn.errors import BadInput
from fedn.wire.messages import data_message
from fedn.wire.parts import chunks
from fedn.wire.threads import to_the_end
from fedn.wire.v1.blobs_pb2 import DownloadReply, UploadRequest

MOST_CHUNK_BYTES = 4 * 2**20
_LEVEL = 1  # of float32 weights, higher levels leave as many bytes (92 %) and take up to a half longer


def pack(chunk: bytes) -> bytes | None:
    """The chunk as one frame; None if that is not shorter."""
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=True).compress(chunk)
    return frame if len(frame) < len(chunk) else None


def unpack(frame: bytes) -> bytes:
    """The chunk of a frame. Raises BadInput for what is not one frame of a chunk."""
    try:
        told = zstandard.get_frame_parameters(frame)
        if told.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise BadInput("a zstd frame does not tell the size of its chunk")
        if not 0 < told.content_size <= MOST_CHUNK_BYTES:
            raise BadInput(f"a zstd frame is of {told.content_size} bytes; a chunk has from 1 to {MOST_CHUNK_BYTES}")
        # one frame and nothing after it; memory for what the header tells, and an error if there is more or less
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadInput(f"a chunk is not a zstd frame: {error}") from None


async def data_of(step: object) -> memoryview | bytes | None:
    """The chunk that came, however the other end wrote it; None for what carries none, such as the end of a stream."""
    if isinstance(step, memoryview):
        return step
    if not isinstance(step, UploadRequest | DownloadReply):
        return None
    frame = step.zstd
    return await to_the_end(lambda: unpack(frame)) if frame else step.data


async def outgoing(path: Path, *, offset: int, chunk_bytes: int, zstd: bool) -> AsyncGenerator[tuple[int, bytes], None]:
    """The chunks of a file from ``offset`` on: the size of each, and the message that carries it.

    With ``zstd`` in frames, each made while the message before it goes out.
    """
    async with aclosing(chunks(path, offset=offset, chunk_bytes=chunk_bytes)) as data:
        if not zstd:
            async for chunk in data:
                yield len(chunk), data_message(chunk)
            return
        loop = asyncio.get_running_loop()
        before: tuple[int, asyncio.Future[bytes]] | None = None
        async for chunk in data:
            making = loop.run_in_executor(None, message_of, bytes(chunk))
            if before is not None:
                yield before[0], await before[1]
            before = len(chunk), making
        if before is not None:
            yield before[0], await before[1]


def message_of(chunk: bytes) -> bytes:
    """The shorter of the messages that carry this chunk; the same bytes up and down."""
    frame = pack(chunk)
    return data_message(chunk) if frame is None else UploadRequest(zstd=frame).SerializeToString()
