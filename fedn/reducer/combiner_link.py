"""The reducer's end of one combiner: give it blobs, start a round, wait for its outcome, fetch its sums.

Each call is one attempt; `conduct` tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from fedn.config import KEEPALIVE_S
from fedn.errors import CombinerUnreachable, TransferFailed, UnknownRound
from fedn.wire import inline
from fedn.wire.bearer import Token
from fedn.wire.channel import dial
from fedn.wire.settings import DEFAULTS, TransferSettings
from fedn.wire.status import rpc_errors
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1 import control_pb2_grpc

CALL_DEADLINE_S = 10.0
LOOK_DEADLINE_S = 2.0
MOST_GIVES = 3  # of the same files in one attempt
REDIAL = (("grpc.max_reconnect_backoff_ms", 1000),)  # a round, and all who ask for a seat, wait for a combiner
SILENCE_S = 30.0  # a combiner reports a round's progress every second


class CombinerLink:
    """One long-lived channel to a combiner."""

    def __init__(
        self,
        address: str,
        *,
        token: Token | None = None,
        keepalive_s: float = KEEPALIVE_S,
        transfer: TransferSettings = DEFAULTS,
    ) -> None:
        self.address = address
        self._channel: grpc.aio.Channel = dial(address, token=token, keepalive_s=keepalive_s, options=REDIAL)
        self._control = control_pb2_grpc.ControlStub(self._channel)
        self._transfer = transfer

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def report(self) -> control.ReportReply:
        """Who is attached, what runs. Raises CombinerUnreachable."""
        async with rpc_errors(unreachable=CombinerUnreachable):
            return await self._control.Report(control.ReportRequest(), timeout=LOOK_DEADLINE_S)

    async def give(self, path: Path, digest: str, moved: Callable[[int], None]) -> None:
        """Send a blob unless it is there."""
        await upload(self._channel, path, digest=digest, settings=self._transfer, moved=moved)

    async def fetch(self, digest: str, size: int, destination: Path, moved: Callable[[int], None]) -> None:
        """Take a blob, verified; resumes what an earlier attempt left."""
        await download(
            self._channel, digest=digest, size=size, destination=destination, settings=self._transfer, moved=moved
        )

    async def run_round(
        self, name: str, request: control.StartRoundRequest, files: Mapping[str, Path], heard: Callable[[int], None]
    ) -> control.RoundOutcome:
        """One attempt to run the round at the combiner of this name; it goes on with one that it knows.

        `heard` is told of each sign of life. Raises CombinerUnreachable, TransferFailed, StaleTerm when another leads.
        """
        request.combiner = name  # the updates of another that has taken over the address must not count twice (I2)
        request.content = inline.of_file(files[request.model])
        try:
            async with rpc_errors(unreachable=CombinerUnreachable):
                for _ in range(MOST_GIVES):
                    if not (missing := await self._start(request)):
                        return await self._outcome(request, heard)
                    await asyncio.gather(*(self.give(files[digest], digest, heard) for digest in missing))
                raise TransferFailed(f"combiner {name} does not keep what it is given")
        except UnknownRound:
            raise CombinerUnreachable(f"the combiner at {self.address} was started again") from None

    async def _start(self, request: control.StartRoundRequest) -> list[str]:
        """The digests of what the combiner needs first; none when the round runs there."""
        reply: control.StartRoundReply = await self._control.StartRound(request, timeout=CALL_DEADLINE_S)
        return list(reply.missing)

    async def _outcome(self, request: control.StartRoundRequest, heard: Callable[[int], None]) -> control.RoundOutcome:
        awaited = control.AwaitRoundRequest(term=request.term, round_id=request.round_id)
        stream: Any = self._control.AwaitRound(awaited)
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    progress = await stream.read()
                if progress is grpc.aio.EOF:
                    break
                heard(1)
                if progress.HasField("outcome"):
                    outcome: control.RoundOutcome = progress.outcome
                    return outcome
        except TimeoutError:
            raise CombinerUnreachable(f"the combiner at {self.address} said nothing for {SILENCE_S:g} s") from None
        finally:
            stream.cancel()
        raise CombinerUnreachable(f"the combiner at {self.address} ended the stream before the round")

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
