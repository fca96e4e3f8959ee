"""What travels between a client and its combiner for a task; tried again until it is done or the task is over."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fedn.client.link import Link
from fedn.errors import CombinerUnreachable, FednError, NotFound, Unauthenticated, Unavailable
from fedn.wire import inline
from fedn.wire.settings import TransferSettings
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import download, until_done, upload
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc

log = logging.getLogger(__name__)

SUBMIT_DEADLINE_S = 60.0
LOOK_BYTES_S = 20e6  # a combiner reads an update through before it answers: at least so fast, from a slow disk

GiveUp = Callable[[], bool]


@dataclass(frozen=True)
class Upload:
    """A file that belongs to a result: uploaded before it, or small enough to go with it."""

    path: Path
    digest: str
    zstd: bool = False

    def is_small(self) -> bool:
        """Whether it goes with its result."""
        return self.size() <= inline.MOST_BYTES

    def size(self) -> int:
        """Bytes; 0 when the round has ended meanwhile, and the file went with it."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


class Transfers:
    """Each attempt goes over the connection of that moment; a lost one is waited for."""

    def __init__(self, link: Link, *, identity: str, min_rate_bytes_s: float, renews: bool = False) -> None:
        self._link = link
        self._identity = identity
        self._settings = TransferSettings(min_rate_bytes_s=min_rate_bytes_s)
        self._renews = renews  # the token: one that is refused is waited out
        self._moved = 0  # bytes, for patience: a transfer that gets on is worth trying again soon

    async def fetch(
        self,
        digest: str,
        size: int,
        destination: Path,
        *,
        zstd: bool = False,
        give_up: GiveUp,
        make_room: Callable[[], None] | None = None,
    ) -> None:
        """Download a blob unless it is there; ``zstd`` if its chunks may come as frames.

        ``make_room`` is called in a thread before its first byte is written.
        """
        if destination.exists():
            return

        async def attempt() -> None:
            channel = await self._link.channel()
            await download(
                channel,
                digest=digest,
                size=size,
                destination=destination,
                zstd=zstd,
                settings=self._settings,
                moved=self._count,
                make_room=make_room,
            )

        await self._persist(attempt, give_up)

    async def upload(self, path: Path, digest: str, round_id: str, *, zstd: bool = False, give_up: GiveUp) -> None:
        """Upload an update, or predictions; with ``zstd`` as frames."""

        async def attempt() -> None:
            channel = await self._link.channel()
            await upload(
                channel,
                path,
                digest=digest,
                round_id=round_id,
                client_id=self._identity,
                zstd=zstd,
                settings=self._settings,
                moved=self._count,
            )

        await self._persist(attempt, give_up)

    async def submit(self, result: pb.TaskResult, *, upload: Upload | None = None, give_up: GiveUp) -> bool:
        """Hand in a result; one that is not taken, or refused, is logged. True when it was taken.

        What was uploaded for it is uploaded again where it is missing: the client may have moved to another combiner.
        """
        receipt = pb.Receipt()
        if upload is not None and upload.is_small():
            result.content = inline.of_file(upload.path)
        deadline_s = SUBMIT_DEADLINE_S + (upload.size() / LOOK_BYTES_S if upload is not None else 0.0)

        async def attempt() -> None:
            stub = combiner_pb2_grpc.CombinerStub(await self._link.channel())
            try:
                async with rpc_errors(unreachable=CombinerUnreachable):
                    receipt.CopyFrom(await stub.Submit(result, timeout=deadline_s))
            except NotFound as error:  # of a small one: the combiner does not know that it may come with its result
                if upload is not None:
                    await self.upload(upload.path, upload.digest, result.round_id, zstd=upload.zstd, give_up=give_up)
                raise Unavailable(error.reason) from error

        try:
            await self._persist(attempt, give_up)
        except FednError as error:
            log.warning("the result of %s was not taken: %s", result.task_id, error)
            return False
        if not receipt.accepted:
            log.warning("the result of %s was refused: %s: %s", result.task_id, receipt.code, receipt.reason)
        return receipt.accepted

    async def _persist(self, attempt: Callable[[], Awaitable[None]], give_up: GiveUp) -> None:
        async def attempted() -> None:
            try:
                async with rpc_errors(unreachable=CombinerUnreachable):
                    await attempt()
            except Unauthenticated as error:
                raise (Unavailable(error.reason) if self._renews else error) from None

        await until_done(attempted, give_up=give_up, progressed=lambda: self._moved)

    def _count(self, moved: int) -> None:
        self._moved += moved
