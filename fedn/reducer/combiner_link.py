"""The reducer's end of one combiner: give it blobs, start a round, wait for its outcome, fetch its sums."""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path

import grpc

from fedn.errors import CombinerUnreachable, NotFound, TransferFailed, Unavailable, UnknownRound
from fedn.wire.backoff import delays
from fedn.wire.channel import dial
from fedn.wire.settings import TransferSettings
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import blobs_pb2 as blobs
from fedn.wire.v1 import blobs_pb2_grpc, control_pb2_grpc
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

CALL_DEADLINE_S = 10.0
LOOK_DEADLINE_S = 2.0
FETCH_TRIES = 8
GIVE_UP_S = 30.0  # a combiner that cannot be reached for so long is left out of the round


class CombinerLink:
    """One long-lived channel to a combiner."""

    def __init__(self, address: str, *, give_up_s: float = GIVE_UP_S) -> None:
        self.address = address
        self._channel: grpc.aio.Channel = dial(address)
        self._control = control_pb2_grpc.ControlStub(self._channel)
        self._blobs = blobs_pb2_grpc.BlobsStub(self._channel)
        self._give_up_s = give_up_s
        self._transfer = TransferSettings()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def report(self) -> control.ReportReply:
        """Who is attached, what runs. Raises CombinerUnreachable."""
        async with rpc_errors(unreachable=CombinerUnreachable):
            return await self._control.Report(control.ReportRequest(), timeout=LOOK_DEADLINE_S)

    async def give(self, path: Path, digest: str) -> None:
        """Send a blob unless it is there."""
        async with rpc_errors(unreachable=CombinerUnreachable):
            there = await self._blobs.Stat(blobs.StatRequest(digest=digest), timeout=CALL_DEADLINE_S)
        if not there.complete:
            await upload(self._channel, path, digest=digest, settings=self._transfer)

    async def fetch(self, digest: str, size: int, destination: Path) -> None:
        """Take a blob, verified; resumes what an earlier attempt left."""
        waits, tries = delays(rng=random.Random()), 0  # noqa: S311 - jitter
        while True:
            try:
                await download(
                    self._channel, digest=digest, size=size, destination=destination, settings=self._transfer
                )
            except (Unavailable, TransferFailed) as error:
                log.warning("fetching %s from %s: %s", digest[:12], self.address, error)
                tries += 1
                if tries >= FETCH_TRIES:
                    raise
                await asyncio.sleep(next(waits))
            else:
                return

    async def conduct(
        self,
        request: control.StartRoundRequest,
        files: dict[str, Path],
    ) -> control.RoundOutcome:
        """Run one round there and return its outcome, over restarts of the combiner (it is idempotent by round_id).

        Raises CombinerUnreachable when the combiner stays away for too long, StaleTerm when another leads.
        """
        clock = asyncio.get_running_loop().time
        reached_at, waits = clock(), delays(rng=random.Random())  # noqa: S311 - jitter
        while True:
            try:
                await asyncio.gather(*(self.give(path, digest) for digest, path in files.items()))
                async with rpc_errors(unreachable=CombinerUnreachable):
                    await self._control.StartRound(request, timeout=CALL_DEADLINE_S)
                    awaited = control.AwaitRoundRequest(term=request.term, round_id=request.round_id)
                    async for progress in self._control.AwaitRound(awaited):
                        reached_at, waits = clock(), delays(rng=random.Random())  # noqa: S311
                        if progress.HasField("outcome"):
                            return progress.outcome
                raise CombinerUnreachable("the combiner ended the stream before the round")
            except (Unavailable, TransferFailed, UnknownRound, NotFound) as error:
                log.warning("round %s at %s: %s", request.round_id, self.address, error)
                if clock() - reached_at > self._give_up_s:
                    raise CombinerUnreachable(f"combiner at {self.address}: {error.reason}") from None
                await asyncio.sleep(next(waits))

    async def abort(self, term: int, round_id: str, reason: str) -> None:
        """Stop collecting."""
        async with rpc_errors(unreachable=CombinerUnreachable):
            request = control.AbortRoundRequest(term=term, round_id=round_id, reason=reason)
            await self._control.AbortRound(request, timeout=CALL_DEADLINE_S)

    async def end(self, term: int, round_id: str, *, committed: bool) -> None:
        """The round is committed or given up: the combiner and its clients may forget it."""
        async with rpc_errors(unreachable=CombinerUnreachable):
            request = control.EndRoundRequest(term=term, round_id=round_id, committed=committed)
            await self._control.EndRound(request, timeout=CALL_DEADLINE_S)
