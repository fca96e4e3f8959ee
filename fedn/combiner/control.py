"""The service that the reducer calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from fedn.combiner.roster import Roster, Seat
from fedn.combiner.round import Order
from fedn.combiner.rounds import Rounds
from fedn.combiner.shelf import Shelf
from fedn.errors import CombinerUnreachable, RoundFailed
from fedn.wire import inline
from fedn.wire.status import Context, answers_errors, streams_errors
from fedn.wire.threads import to_the_end
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1 import control_pb2_grpc

PROGRESS_S = 1.0  # between two reports of a round's progress; its outcome is sent at once


class ControlService(control_pb2_grpc.ControlServicer):
    """Rounds and the roster, for the leader of the reducers."""

    def __init__(self, name: str, roster: Roster, rounds: Rounds, shelf: Shelf, *, late: Callable[[], int]) -> None:
        self._name = name
        self._shelf = shelf
        self._roster = roster
        self._rounds = rounds
        self._late = late

    @answers_errors
    async def StartRound(self, request: control.StartRoundRequest, context: Context) -> control.StartRoundReply:
        """See the proto."""
        if request.combiner not in ("", self._name):
            raise CombinerUnreachable(f"here is combiner {self._name!r}, not {request.combiner!r}")
        await self._rounds.fence(request.term)
        order = Order.from_wire(request)
        self._rounds.check_takes(order)
        if missing := await to_the_end(lambda: self._missing(order, request.content)):
            return control.StartRoundReply(missing=missing)
        self._rounds.start(order)
        return control.StartRoundReply()

    def _missing(self, order: Order, content: bytes) -> list[str]:
        """What the round needs and is not here; a small model may be in the message."""
        if content and self._shelf.find(order.model) is None:
            self._shelf.store(inline.checked(content, order.model), order.model)
        return [digest for digest in (order.model, order.package) if self._shelf.find(digest) is None]

    @streams_errors
    async def AwaitRound(
        self,
        request: control.AwaitRoundRequest,
        context: Context,
    ) -> AsyncGenerator[control.RoundProgress, None]:
        """See the proto."""
        await self._rounds.fence(request.term)
        round_ = self._rounds.get(request.round_id)
        while not round_.ended.is_set():
            yield round_.progress()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_S):
                    await round_.ended.wait()
        yield round_.progress()

    @answers_errors
    async def AbortRound(self, request: control.AbortRoundRequest, context: Context) -> control.AbortRoundReply:
        """See the proto."""
        await self._rounds.fence(request.term)
        why = RoundFailed(request.reason or "the reducer aborted the round")
        self._rounds.get(request.round_id).abort(why)
        return control.AbortRoundReply()

    @answers_errors
    async def EndRound(self, request: control.EndRoundRequest, context: Context) -> control.EndRoundReply:
        """See the proto."""
        await self._rounds.fence(request.term)
        await self._rounds.end(request.round_id, committed=request.committed)
        return control.EndRoundReply()

    @answers_errors
    async def Report(self, request: control.ReportRequest, context: Context) -> control.ReportReply:
        """See the proto."""
        running = [control.RunningRound(round_id=r.order.round_id, progress=r.counts()) for r in self._rounds.known()]
        clients = [attached_client(seat) for seat in self._roster.attached()]
        return control.ReportReply(
            combiner=self._name,
            clients=clients,
            rounds=running,
            draining=self._rounds.draining,
            late=self._late(),
        )


def attached_client(seat: Seat) -> control.AttachedClient:
    """A seat as the reducer sees it."""
    working = seat.task is not None
    kind = {pb.TASK_KIND_TRAIN: "train", pb.TASK_KIND_VALIDATE: "validate", pb.TASK_KIND_PREDICT: "predict"}
    return control.AttachedClient(
        client_id=seat.client_id,
        name=seat.name,
        part=seat.part,
        task=kind.get(seat.task.kind, "") if working and seat.task is not None else "",
        cpus=seat.cpus,
        memory_bytes=seat.memory_bytes,
        version=seat.version,
        encodings=seat.encodings,
    )
