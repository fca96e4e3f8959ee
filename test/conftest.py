"""A real blob server on loopback, over a folder, for the tests of the transfer protocol."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc.aio
import pytest

from fedn.wire.admission import Admission
from fedn.wire.blobs import BlobService
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.messages import add_blobs
from fedn.wire.settings import TransferSettings
from fedn.wire.v1.blobs_pb2 import StatReply, StatRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub

CHUNK = 64 * 1024


class FolderShelf:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, digest: str) -> Path | None:
        path = self.folder / digest
        return path if path.exists() else None

    def make_room(self, size: int) -> None:
        """It keeps nothing that nobody needs."""

    def part(self, digest: str) -> Path:
        return self.folder / f"{digest}.part"

    def keep(self, digest: str) -> Path:
        with self.part(digest).open("rb") as part:
            os.fsync(part.fileno())
        return self.part(digest).rename(self.folder / digest)

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest


class CountingAdmission(Admission):
    """Remembers the most that ever ran at once, and tells when someone has to wait."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self._at_once = at_once
        self.peak = 0
        self.queued = asyncio.Event()

    async def __aenter__(self) -> None:
        if self.running == self._at_once:
            self.queued.set()
        await super().__aenter__()
        self.peak = max(self.peak, self.running)


class BlobServer:
    """``async with``: serves ``folder`` on loopback; may be stopped and started again at the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: TransferSettings,
        at_once: int,
        check: Callable[[UploadStart], None],
    ) -> None:
        self.shelf = FolderShelf(folder)
        self.settings = settings
        self.admission = CountingAdmission(at_once)
        self.check = check
        self.port = 0
        self._running = AsyncExitStack()

    async def __aenter__(self) -> BlobServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def start(self) -> None:
        server = new_server()
        service = BlobService(self.shelf, admission=self.admission, check=self.check, settings=self.settings)
        add_blobs(service, server)
        self.port = await listen(server, "127.0.0.1", self.port)
        self._running.push_async_callback(server.stop, None)

    async def stop(self) -> None:
        await self._running.aclose()

    def dial(self, **options: Any) -> grpc.aio.Channel:
        return dial(f"127.0.0.1:{self.port}", **options)

    async def has(self, channel: grpc.aio.Channel, digest: str, size: int) -> StatReply:
        """Ask until ``size`` bytes of the blob are there."""
        while (reply := await BlobsStub(channel).Stat(StatRequest(digest=digest))).size != size:
            pass
        return reply


ServeBlobs = Callable[..., Awaitable[BlobServer]]


@pytest.fixture
async def serve_blobs(tmp_path: Path) -> AsyncIterator[ServeBlobs]:
    """Starts blob servers that bear so much silence; all are stopped at the end of the test."""

    def anything(start: UploadStart) -> None: ...

    async with AsyncExitStack() as stack:

        async def serve(
            *,
            at_once: int = 3,
            silence_s: float = 30.0,
            check: Callable[[UploadStart], None] = anything,
        ) -> BlobServer:
            folder = tmp_path / "shelf"
            folder.mkdir(exist_ok=True)
            settings = TransferSettings(chunk_bytes=CHUNK, ahead_bytes=CHUNK, min_rate_bytes_s=CHUNK / silence_s)
            server = BlobServer(folder, settings=settings, at_once=at_once, check=check)
            return await stack.enter_async_context(server)

        yield serve
