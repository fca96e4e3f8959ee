"""An incomplete blob in a file, and the chunks of a complete one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from fedn.errors import BadInput, DigestMismatch, TransferFailed
from fedn.wire.threads import to_the_end

_READ_BYTES = 4 * 1024 * 1024
_SMALL_BYTES = 1024 * 1024  # a blob up to this size is not worth a thread of its own
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_AHEAD = 2  # chunks that may wait for the disk while the next one arrives


class PartWriter:
    """Continues the part of a blob at ``path``: ``async with PartWriter(…) as part``.

    What an earlier attempt left is hashed again and gone on from; a part larger than the announced
    ``size`` (bytes) is dropped. Chunks are written and hashed in a thread, in order, each at its exact
    offset; those of a small blob in the event loop's own threads, one after another. However the block is
    left, no thread touches the file afterwards; what was written stays, for the next attempt. ``make_room`` is
    called there before the first of them is written. Disk errors are raised as OSError.
    """

    def __init__(self, path: Path, *, digest: str, size: int, make_room: Callable[[], None] | None = None) -> None:
        self._path = path
        self._make_room = make_room
        self._digest = digest
        self._size = size
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fedn-part") if size > _SMALL_BYTES else None
        self._pending: deque[asyncio.Future[None]] = deque()
        self._file = -1
        self._length = 0
        self._left = False

    @property
    def length(self) -> int:
        """Bytes taken so far: the offset of the next chunk."""
        return self._length

    async def __aenter__(self) -> Self:
        try:
            self._length = await to_the_end(self._open, executor=self._thread)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def add(self, data: bytes | memoryview) -> None:
        """Take the next chunk; BadInput, and the part is dropped, if it goes beyond the announced size."""
        if self._length + len(data) > self._size:
            await self.drop()
            raise BadInput(f"more bytes than the {self._size} that were announced")
        offset, self._length = self._length, self._length + len(data)
        if self._thread is None:
            await to_the_end(lambda: self._append(data, offset))
            return
        while len(self._pending) >= _AHEAD:
            await self._pending.popleft()
        self._pending.append(asyncio.get_running_loop().run_in_executor(self._thread, self._append, data, offset))

    async def finish(self) -> None:
        """See that the blob is complete and right; TransferFailed or DigestMismatch.

        A part with other bytes than the digest says is dropped; one that is only too short stays.
        """
        while self._pending:
            await self._pending.popleft()
        if self._length != self._size:
            raise TransferFailed(f"the transfer ended after {self._length} of {self._size} bytes")
        if self._hash.hexdigest() != self._digest:
            await self.drop()
            raise DigestMismatch(f"the {self._size} bytes that came are not {self._digest}")

    async def drop(self) -> None:
        """Forget what was taken; the next attempt begins at 0."""
        await to_the_end(lambda: self._path.unlink(missing_ok=True), executor=self._thread)

    async def _leave(self) -> None:
        self._left = True
        if self._thread is None:  # all that it was given is done
            self._close()
            return
        try:
            await to_the_end(self._close, executor=self._thread)
        finally:
            for work in self._pending:
                if not work.cancel():
                    work.exception()  # looked at: the first failure is the one that is raised
            self._thread.shutdown()

    # what follows runs in a thread

    def _open(self) -> int:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        length = os.fstat(self._file).st_size
        if length > self._size:
            os.ftruncate(self._file, 0)
            return 0
        done = 0
        while done < length:
            known = os.pread(self._file, min(_READ_BYTES, length - done), done)
            self._hash.update(known)
            done += len(known)
        return length

    def _append(self, data: bytes | memoryview, offset: int) -> None:
        if self._left:
            return
        if self._make_room is not None:
            self._make_room()
            self._make_room = None
        self._hash.update(data)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


async def chunks(path: Path, *, offset: int, chunk_bytes: int) -> AsyncGenerator[memoryview, None]:
    """The bytes of a file from ``offset`` on; each chunk is there until the next one is asked for.

    What the page cache has is copied at once, a tenth of a millisecond for a MiB, which a change of threads would cost
    as well. What must come from the disk is read in a thread, and what comes after it is announced to the kernel.
    """
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        end = os.fstat(descriptor).st_size
        block = memoryview(bytearray(max(0, min(chunk_bytes, end - offset))))
        while offset < end:
            count = _read_cached(descriptor, block, offset)
            if not count:  # Linux 5.9 and 5.10 say 0 where a wait would bring more
                count = await to_the_end(functools.partial(_read, descriptor, block, offset))
            if not count:
                return
            yield block[:count]
            offset += count


def _read_cached(descriptor: int, block: memoryview, offset: int) -> int:
    """How many bytes came without a wait; 0 also where that cannot be said."""
    if _NO_WAIT is None:
        return 0
    try:
        return os.preadv(descriptor, [block], offset, _NO_WAIT)
    except (OSError, NotImplementedError):  # not in the cache; or of a kernel or a Python that is too old for it
        return 0


def _read(descriptor: int, block: memoryview, offset: int) -> int:
    os.posix_fadvise(descriptor, offset, 2 * len(block), os.POSIX_FADV_WILLNEED)
    return os.preadv(descriptor, [block], offset)
