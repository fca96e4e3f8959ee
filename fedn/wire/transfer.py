"""The asking end of the transfer protocol, as proto/fedn/v1/blobs.proto draws it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

from fedn.errors import (
    BadInput,
    CombinerUnreachable,
    DigestMismatch,
    DiskFull,
    TransferFailed,
    Unavailable,
    cannot_write,
)
from fedn.wire import digests
from fedn.wire.backoff import delays
from fedn.wire.calls import AnyCall, begin, calling
from fedn.wire.messages import BlobsStub
from fedn.wire.pace import Pace
from fedn.wire.parts import PartWriter
from fedn.wire.settings import DEFAULTS, TransferSettings
from fedn.wire.status import rpc_errors
from fedn.wire.v1.blobs_pb2 import (
    DownloadReply,
    DownloadRequest,
    UploadReply,
    UploadRequest,
    UploadStart,
)
from fedn.wire.zstd import data_of, outgoing

log = logging.getLogger(__name__)


def _unseen(count: int) -> None:
    """Nobody looks at the progress."""


async def upload(
    channel: grpc.aio.Channel,
    path: Path,
    *,
    digest: str,
    round_id: str = "",
    client_id: str = "",
    zstd: bool = False,
    settings: TransferSettings = DEFAULTS,
    moved: Callable[[int], None] = _unseen,
) -> None:
    """One attempt to bring a file to the other end; on return it is durable and verified there.

    Goes on from what the other end has; with ``zstd`` in frames, which the other end must know. ``moved`` is told the
    bytes of each chunk that went out. Raises TransferFailed and its kinds or CombinerUnreachable (try again:
    `until_done`), or the refusal; FolderUnusable if the file cannot be read.
    """
    try:
        size = path.stat().st_size
        start = UploadStart(digest=digests.checked(digest), size=size, round_id=round_id, client_id=client_id)
        async with _called(BlobsStub(channel).Upload) as call:
            await begin(call, UploadRequest(start=start))
            offset = _granted(await call.read(), size=size)
            if offset < size:
                await _send(call, path, offset=offset, zstd=zstd, settings=settings, moved=moved)
            await call.done_writing()
            # the other end has yet to receive, hash, write and sync what we sent
            pace = Pace(settings, ahead=size)
            pace.moved(size)
            reply = await pace.of(call.read())
    except OSError as error:
        raise cannot_write(f"{path}", error) from error
    if not isinstance(reply, UploadReply) or reply.WhichOneof("step") != "stored":
        raise TransferFailed("the other end did not say that it has stored the blob")


async def download(
    channel: grpc.aio.Channel,
    *,
    digest: str,
    size: int,
    destination: Path,
    zstd: bool = False,
    settings: TransferSettings = DEFAULTS,
    moved: Callable[[int], None] = _unseen,
    make_room: Callable[[], None] | None = None,
) -> None:
    """One attempt to fetch a blob of ``size`` bytes; ``destination`` appears when it is complete and verified.

    With ``zstd`` its chunks may come as frames. The file is not synced, since it can be fetched again: who finds it
    after a restart checks it first. What an attempt got rests in ``<destination>.part``, and the next one goes on from
    there. ``moved`` is told the bytes of each chunk that came in; ``make_room`` is called in a thread before the first
    is written. Raises TransferFailed and its kinds or CombinerUnreachable (try again: `until_done`), or the refusal;
    BadInput if the other end's blob has another size; FolderUnusable, DiskFull.
    """
    part_path = destination.with_name(destination.name + ".part")
    try:
        async with PartWriter(part_path, digest=digests.checked(digest), size=size, make_room=make_room) as part:
            await _fetch(channel, part, digest=digest, size=size, zstd=zstd, settings=settings, moved=moved)
            await part.finish()
        part_path.replace(destination)
    except OSError as error:
        raise cannot_write(f"{destination.parent}", error) from error


async def until_done(
    attempt: Callable[[], Awaitable[None]],
    *,
    give_up: Callable[[], bool],
    progressed: Callable[[], int],
    waits: Callable[[], Iterator[float]] = delays,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Attempt a transfer until it is done, refused, or ``give_up`` says so; then its last error is raised.

    Tried again are Unavailable and TransferFailed, after ever longer waits that begin anew whenever
    ``progressed`` (bytes so far) has grown. Wrong bytes twice in a row are wrong at their source.
    """
    wait, before, mismatched, full = waits(), progressed(), False, False
    while True:
        try:
            await attempt()
        except (Unavailable, TransferFailed) as error:
            failure = error
        else:
            return
        if isinstance(failure, DiskFull) and not full:
            full = True
            log.warning("waiting: %s", failure)
        again = isinstance(failure, DigestMismatch)
        if give_up() or (again and mismatched):
            raise failure
        mismatched = again
        if progressed() > before:
            wait, before = waits(), progressed()
        await sleep(next(wait))
        if give_up():
            raise failure


@asynccontextmanager
async def _called(make: Callable[[], AnyCall]) -> AsyncIterator[AnyCall]:
    """A call; that its channel is closed already counts as CombinerUnreachable, too."""
    async with rpc_errors(unreachable=CombinerUnreachable), calling(make(), unreachable=CombinerUnreachable) as call:
        yield call


async def _send(
    call: grpc.aio.StreamStreamCall[Any, UploadReply],
    path: Path,
    *,
    offset: int,
    zstd: bool,
    settings: TransferSettings,
    moved: Callable[[int], None],
) -> None:
    pace = Pace(settings, ahead=settings.ahead_bytes)
    async with aclosing(outgoing(path, offset=offset, chunk_bytes=settings.chunk_bytes, zstd=zstd)) as messages:
        async for size, message in messages:
            await pace.of(call.write(message))
            pace.moved(size)
            moved(size)
            del message  # not held while the next one is made


async def _fetch(
    channel: grpc.aio.Channel,
    part: PartWriter,
    *,
    digest: str,
    size: int,
    zstd: bool,
    settings: TransferSettings,
    moved: Callable[[int], None],
) -> None:
    pace = Pace(settings)
    request = DownloadRequest(digest=digest, offset=part.length, zstd=zstd)
    async with _called(lambda: BlobsStub(channel).Download(request)) as call:
        _same_blob(await call.read(), size=size, offset=part.length)
        while (data := await data_of(await pace.of(call.read()))) is not None:
            pace.moved(len(data))
            await part.add(data)
            moved(len(data))
            del data  # not held while the next one comes


def _granted(reply: object, *, size: int) -> int:
    if not isinstance(reply, UploadReply) or reply.WhichOneof("step") != "grant":
        raise TransferFailed("the other end did not say where to go on")
    offset = reply.grant.offset
    if offset > size:
        raise TransferFailed(f"the other end goes on from {offset}, beyond the {size} bytes of the blob")
    return offset


def _same_blob(reply: object, *, size: int, offset: int) -> None:
    if not isinstance(reply, DownloadReply) or reply.WhichOneof("step") != "grant":
        raise TransferFailed("the other end did not say what it will send")
    grant = reply.grant
    if grant.size != size:
        raise BadInput(f"the other end's blob has {grant.size} bytes, not the {size} that were announced")
    if grant.offset != offset:
        raise TransferFailed(f"the other end goes on from {grant.offset}, not from {offset}")
