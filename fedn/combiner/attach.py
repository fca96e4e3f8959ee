"""The service that clients dial: one stream each, and the results of their tasks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc.aio

from fedn.combiner.heartbeats import Heartbeats
from fedn.combiner.intake import Intake
from fedn.combiner.roster import Roster
from fedn.combiner.rounds import Rounds
from fedn.combiner.stream import Stream
from fedn.errors import BadInput, Unavailable
from fedn.wire.status import Context, answers_errors
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0


class CombinerService(combiner_pb2_grpc.CombinerServicer):
    """`Attach` and `Submit`."""

    def __init__(
        self,
        name: str,
        roster: Roster,
        rounds: Rounds,
        intake: Intake,
        heartbeats: Heartbeats,
        *,
        places: int,
    ) -> None:
        self._name = name
        self._roster = roster
        self._rounds = rounds
        self._intake = intake
        self._heartbeats = heartbeats
        self._places = places

    @answers_errors
    async def Submit(self, request: pb.TaskResult, context: Context) -> pb.Receipt:
        """See the proto."""
        return await self._intake.submit(request)

    # a coroutine that reads and writes: a generator and a task that listens would cost each client 10 kB more
    @answers_errors
    async def Attach(  # type: ignore[override]
        self, request_iterator: Any, context: Context
    ) -> None:
        """See the proto."""
        hello = await self._hello(context)
        self._check_room(hello.client_id)
        welcome = self._heartbeats.welcome()
        stream = Stream(context.write, heartbeat_s=welcome.heartbeat_s)
        seat = self._roster.attach(hello, stream)
        log.info("client %s (part %d) attached", hello.name, hello.part)
        try:
            stream.send(pb.CombinerCommand(welcome=welcome))
            self._rounds.greet(hello.client_id)
            del hello, welcome
            async with stream.until_closed():
                await _listen(context, stream)
        finally:
            self._roster.detach(seat, stream)
            log.info("client %s %s", seat.name, "came back" if stream.superseded else "went away")

    def _check_room(self, client_id: str) -> None:
        if not self._roster.has_place(client_id, self._places):
            raise Unavailable(
                f"combiner {self._name} has no place for more than {self._places} clients: its limit of open files"
            )

    async def _hello(self, context: Context) -> pb.Hello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await context.read()
        except TimeoutError:
            raise BadInput("the stream did not begin with a hello") from None
        if first is grpc.aio.EOF or first.WhichOneof("event") != "hello" or not first.hello.client_id:
            raise BadInput("the stream did not begin with a hello")
        hello: pb.Hello = first.hello
        return hello


async def _listen(context: Context, stream: Stream) -> None:
    """Every event is a sign of life, and no more than that."""
    clock = asyncio.get_running_loop().time
    while await context.read() is not grpc.aio.EOF:
        stream.heard_at = clock()
