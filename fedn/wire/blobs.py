"""The serving end of the transfer protocol, as proto/fedn/v1/blobs.proto draws it."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from fedn.errors import BadInput, DiskFull, FolderUnusable, NotFound, TransferFailed, Unavailable, no_room
from fedn.wire import digests
from fedn.wire.admission import Admission
from fedn.wire.pace import Pace
from fedn.wire.parts import PartWriter
from fedn.wire.settings import TransferSettings
from fedn.wire.status import Context, answers_errors
from fedn.wire.threads import to_the_end
from fedn.wire.turns import Turns
from fedn.wire.v1 import blobs_pb2_grpc
from fedn.wire.v1.blobs_pb2 import (
    DownloadGrant,
    DownloadReply,
    DownloadRequest,
    StatReply,
    StatRequest,
    UploadGrant,
    UploadReply,
    UploadRequest,
    UploadStart,
    UploadStored,
)
from fedn.wire.zstd import data_of, outgoing

log = logging.getLogger(__name__)


Step: TypeAlias = UploadRequest | memoryview  # as `messages.add_blobs` gives it


class Shelf(Protocol):
    """Where blobs rest, by digest (always a checked sha256)."""

    def find(self, digest: str) -> Path | None:
        """The complete blob, if it is here."""
        ...

    def make_room(self, size: int) -> None:
        """So many bytes come: delete what nobody needs."""
        ...

    def part(self, digest: str) -> Path:
        """Where the incomplete blob rests; its folder exists."""
        ...

    def keep(self, digest: str) -> Path:
        """Make the part, whose bytes the caller has verified, the complete blob: durable on return."""
        ...


class BlobService(blobs_pb2_grpc.BlobsServicer):
    """``Blobs`` over a shelf.

    ``check`` may refuse an upload with a FednError before a byte of it is taken; ``admission`` says how
    many uploads and downloads run at once. An upload is on the shelf, durable and verified, before
    ``stored`` is said.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        admission: Admission,
        check: Callable[[UploadStart], None],
        settings: TransferSettings,
    ) -> None:
        self._shelf = shelf
        self._admission = admission
        self._check = check
        self._settings = settings
        self._turns = Turns()
        self._senders: Counter[str] = Counter()

    def receives_from(self, client_id: str) -> bool:
        """True while bytes of this client's come in; one that sends too little is cut."""
        return client_id in self._senders

    @answers_errors
    async def Stat(self, request: StatRequest, context: Context) -> StatReply:  # noqa: N802, ARG002
        """How many bytes of the blob are here, and whether that is all of it."""
        digest = digests.checked(request.digest)
        if (size := _size(self._shelf.find(digest))) is not None:
            return StatReply(complete=True, size=size)
        return StatReply(complete=False, size=_size(self._shelf.part(digest)) or 0)

    # a coroutine that writes, because a generator cannot bound how long the other end takes to read
    @answers_errors
    async def Upload(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[Step], context: Context
    ) -> None:
        """Take a blob, from where an earlier attempt ended."""
        start = await self._start(request_iterator)
        pace = Pace(self._settings)
        if not self._is_here(start):
            async with self._turns.take(start.digest, start.client_id), self._admission:
                if not self._is_here(start):
                    with self._sending(start.client_id):
                        await self._receive(start, request_iterator, context, pace)
                    return
        await pace.of(context.write(UploadReply(grant=UploadGrant(offset=start.size))))
        await pace.of(context.write(UploadReply(stored=UploadStored())))

    @answers_errors
    async def Download(  # type: ignore[override]  # noqa: N802
        self, request: DownloadRequest, context: Context
    ) -> None:
        """Send a blob, from the offset that was asked for."""
        path = self._shelf.find(digests.checked(request.digest))
        size = _size(path)
        if path is None or size is None:
            raise NotFound(f"no blob {request.digest} here")
        if request.offset > size:
            raise BadInput(f"offset {request.offset} is beyond the end of the blob, {size} bytes")
        pace = Pace(self._settings, ahead=self._settings.ahead_bytes)
        async with self._admission:
            grant = DownloadGrant(size=size, offset=request.offset)
            await pace.of(context.write(DownloadReply(grant=grant)))
            chunk_bytes = self._settings.chunk_bytes
            blob = outgoing(path, offset=request.offset, chunk_bytes=chunk_bytes, zstd=request.zstd)
            try:
                async with aclosing(blob):
                    async for size, message in blob:
                        await pace.of(context.write(message))
                        pace.moved(size)
                        del message  # not held while the next one is made
            except FileNotFoundError:
                raise NotFound(f"no blob {request.digest} here any more") from None
            except OSError as error:
                log.exception("cannot read %s", request.digest)
                raise Unavailable(f"the blob cannot be read: {error.strerror}") from error

    async def _start(self, requests: AsyncIterator[Step]) -> UploadStart:
        first = await Pace(self._settings).of(anext(requests, None))
        if not isinstance(first, UploadRequest) or first.WhichOneof("step") != "start":
            raise BadInput("an upload begins with start")
        digests.checked(first.start.digest)
        if first.start.size == 0:
            raise BadInput("a blob has at least one byte")
        self._check(first.start)
        return first.start

    @contextmanager
    def _sending(self, client_id: str) -> Iterator[None]:
        self._senders[client_id] += 1
        try:
            yield
        finally:
            self._senders[client_id] -= 1
            if not self._senders[client_id]:
                del self._senders[client_id]

    def _is_here(self, start: UploadStart) -> bool:
        size = _size(self._shelf.find(start.digest))
        if size is not None and size != start.size:
            raise BadInput(f"{start.digest} has {size} bytes, not the {start.size} that were announced")
        return size is not None

    async def _receive(self, start: UploadStart, requests: AsyncIterator[Step], context: Context, pace: Pace) -> None:
        try:
            path = self._shelf.part(start.digest)
            room = functools.partial(self._shelf.make_room, start.size)
            async with PartWriter(path, digest=start.digest, size=start.size, make_room=room) as part:
                await pace.of(context.write(UploadReply(grant=UploadGrant(offset=part.length))))
                while data := await _next_chunk(requests, pace):
                    await part.add(data)
                    del data  # not held while the next one comes
                await part.finish()
            await to_the_end(lambda: self._shelf.keep(start.digest))
        except NotFound as error:
            raise TransferFailed("what had come was swept meanwhile") from error  # sent again, it begins anew
        except OSError as error:
            log.exception("cannot store %s", start.digest)
            kind = DiskFull if no_room(error) else Unavailable
            await to_the_end(lambda: self._shelf.make_room(start.size))
            raise kind(f"the blob cannot be stored: {error.strerror}") from error
        except FolderUnusable as error:
            log.exception("cannot store %s", start.digest)
            raise Unavailable("the blob cannot be stored: its folder cannot be written") from error
        await pace.of(context.write(UploadReply(stored=UploadStored())))


async def _next_chunk(requests: AsyncIterator[Step], pace: Pace) -> memoryview | bytes:
    """Empty at the end."""
    while (step := await pace.of(anext(requests, None))) is not None:
        if isinstance(step, UploadRequest) and step.WhichOneof("step") not in ("data", "zstd"):
            raise BadInput("after start, an upload holds data only")
        if data := await data_of(step):
            pace.moved(len(data))  # of the blob: a frame is no longer than its chunk, so the wire is never slower
            return data
    return b""


def _size(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
