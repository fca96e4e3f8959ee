"""The service that clients dial: one stream each, and the results of their tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from fedn.combiner.intake import Intake
from fedn.combiner.roster import Roster, Stream
from fedn.combiner.rounds import Rounds
from fedn.errors import BadInput, Unavailable
from fedn.wire.status import Context, answers_errors, streams_errors
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
SILENCE = 3  # heartbeats that may be missed before a client counts as gone


class CombinerService(combiner_pb2_grpc.CombinerServicer):
    """`Attach` and `Submit`."""

    def __init__(
        self,
        name: str,
        roster: Roster,
        rounds: Rounds,
        intake: Intake,
        *,
        heartbeat_s: float,
        sends: Callable[[str], bool],
        places: int,
    ) -> None:
        self._name = name
        self._roster = roster
        self._rounds = rounds
        self._intake = intake
        self._heartbeat_s = heartbeat_s
        self._sends = sends
        self._places = places

    @answers_errors
    async def Submit(self, request: pb.TaskResult, context: Context) -> pb.Receipt:
        """See the proto."""
        return await self._intake.submit(request)

    @streams_errors
    async def Attach(self, request_iterator: Any, context: Context) -> AsyncGenerator[pb.CombinerCommand, None]:
        """See the proto."""
        hello = await self._hello(request_iterator)
        self._check_room(hello.client_id)
        seat, stream = self._roster.attach(hello)
        log.info("client %s (part %d) attached", hello.name, hello.part)
        welcome = pb.Welcome(combiner=self._name, heartbeat_s=self._heartbeat_s)
        stream.send(pb.CombinerCommand(welcome=welcome))
        self._rounds.greet(hello.client_id)
        listener = asyncio.create_task(self._listen(request_iterator, stream, hello.client_id))
        try:
            async for command in stream.commands():
                yield command
        finally:
            self._roster.detach(seat, stream)
            log.info("client %s %s", hello.name, "came back" if stream.superseded else "went away")
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    def _check_room(self, client_id: str) -> None:
        if not self._roster.has_place(client_id, self._places):
            raise Unavailable(
                f"combiner {self._name} has no place for more than {self._places} clients: its limit of open files"
            )

    async def _hello(self, events: Any) -> pb.Hello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await anext(events)
        except (TimeoutError, StopAsyncIteration):
            raise BadInput("the stream did not begin with a hello") from None
        if first.WhichOneof("event") != "hello" or not first.hello.client_id:
            raise BadInput("the stream did not begin with a hello")
        hello: pb.Hello = first.hello
        return hello

    async def _listen(self, events: Any, stream: Stream, client_id: str) -> None:
        """Every event is a sign of life; close the stream when none comes for too long, or the connection ends.

        So is an upload: over a narrow way, events wait behind its bytes.
        """
        try:
            while True:
                event = asyncio.ensure_future(anext(events))
                try:
                    while not (await asyncio.wait([event], timeout=SILENCE * self._heartbeat_s))[0]:
                        if not self._sends(client_id):
                            raise TimeoutError
                finally:
                    event.cancel()
                event.result()
        except (TimeoutError, StopAsyncIteration, grpc.RpcError):
            log.debug("the client's half of the stream has ended")
        finally:
            stream.close()
