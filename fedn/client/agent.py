"""One client: find a combiner, attach, take tasks, come back whenever the connection ends (I9).

::

    ask discovery ─▶ dial ─▶ hello / welcome ─▶ commands ──▶ tasks (they outlive the connection)
         ▲                                         │ stream ended
         └────────────── backoff, jitter ◀─────────┘
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeAlias

import grpc
import httpx

from fedn import __version__
from fedn.client import who
from fedn.client.complaint import Complaint
from fedn.client.link import Link
from fedn.client.seat import Seat, SecondThoughts
from fedn.client.tasks import Tasks
from fedn.client.waits import Waits
from fedn.config import ClientSettings
from fedn.errors import AccessRefused, CombinerUnreachable, FednError, NameTaken, Unauthenticated, Unavailable
from fedn.security.tokens import own_token
from fedn.wire import encodings
from fedn.wire.calls import calling
from fedn.wire.channel import dial
from fedn.wire.rest import call
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc

log = logging.getLogger(__name__)

Events: TypeAlias = "asyncio.Queue[pb.ClientEvent | None]"  # None: no more will come

WELCOME_TIMEOUT_S = 10.0


class Presence(Protocol):
    """Who wants to know whether the client is attached."""

    def ready(self) -> None:
        """It is."""

    def not_ready(self, reason: str) -> None:
        """It is not, and why."""


class Agent:
    """One client."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        tasks: Tasks,
        link: Link,
        identity: str,
        presence: Presence,
        turns: asyncio.Semaphore,
    ) -> None:
        self._settings = settings
        self._presence = presence
        self._tasks = tasks
        self._link = link
        self._identity = identity
        self._token, self._renews = own_token(settings), settings.auth_token_file is not None
        self._turns = turns  # of all clients of this process: who asks and dials at the same time
        self._waits = Waits()
        self._complaint = Complaint()

    async def run(self, http: httpx.AsyncClient) -> None:
        """Serve for ever, asking the reducer by `http`. Raises what waiting does not cure: NameTaken, AccessRefused."""
        who.name.set(self._settings.name)
        while True:
            failure: FednError | None = None
            try:
                seat = await self._attend(http)
                log.info("the stream to combiner %s has ended; asking for a seat again", seat.combiner)
                self._presence.not_ready(f"the stream to combiner {seat.combiner} has ended")
            except (NameTaken, AccessRefused) as error:
                if not (self._renews and isinstance(error, Unauthenticated)):
                    raise
                failure = error  # the file will have another token
                self._tell(error)
            except FednError as error:
                failure = error
                self._tell(error)
            except Exception:  # the client's outermost loop: it comes back, whatever happened (I9)
                log.exception("the connection was lost")
                self._presence.not_ready("the connection was lost; its log says why")
            await asyncio.sleep(self._waits.after(failure))

    def _tell(self, error: FednError) -> None:
        log.log(self._complaint.level(str(error)), "%s", error)
        self._presence.not_ready(str(error))

    async def _attend(self, http: httpx.AsyncClient) -> Seat:
        """Ask for a seat and serve there until the stream ends; returns the seat.

        Until the welcome it takes one of the process's turns: were a thousand to come at once, all would come too late.
        """
        with ExitStack() as turn:
            await self._turns.acquire()
            turn.callback(self._turns.release)
            seat = await self._ask(http)
            who.name.set(seat.name)
            await self._serve(seat, turn, http)
        return seat

    async def _ask(self, http: httpx.AsyncClient) -> Seat:
        query = {"client_id": self._identity}
        if self._settings.name_base:
            query["name_base"] = self._settings.name_base
        else:
            query["name"] = self._settings.name or f"client-{self._identity[:6]}"
        if self._settings.combiner:
            query["combiner"] = self._settings.combiner
        given = await call(http, "GET", "/assign", params=query)
        seat = Seat(given["combiner"], given["address"], int(given["part"]), given["name"], float(given["spread_s"]))
        self._waits.spread(seat.spread_s)
        return seat

    async def _serve(self, seat: Seat, turn: ExitStack, http: httpx.AsyncClient) -> None:
        """Attach and obey until the stream ends; the turn ends with the welcome."""
        channel = dial(seat.address, token=self._token, keepalive_s=self._settings.keepalive_s)
        events: Events = asyncio.Queue()
        events.put_nowait(pb.ClientEvent(hello=self._hello(seat)))
        try:
            attached = combiner_pb2_grpc.CombinerStub(channel).Attach(outgoing(events))
            gone = f"the combiner at {seat.address} has ended the stream"
            async with calling(attached, unreachable=CombinerUnreachable, ended=gone) as stream:
                heartbeat_s = await self._welcomed(stream, seat)
                turn.close()
                self._waits.welcomed()
                self._complaint.settle()
                self._link.connect(channel)
                self._tasks.part = seat.part
                log.info(
                    "attached to combiner %s at %s as %s, part %d", seat.combiner, seat.address, seat.name, seat.part
                )
                self._presence.ready()
                heart = Heart(events, heartbeat_s)
                beating = asyncio.create_task(heart.beat())
                second = SecondThoughts(lambda: self._ask_again(http), seat)
                try:
                    async with second.leaving():
                        await self._obey(stream, second, heart)
                finally:
                    beating.cancel()
        finally:
            self._link.disconnect()
            events.put_nowait(None)
            await channel.close()

    async def _ask_again(self, http: httpx.AsyncClient) -> Seat:
        await asyncio.sleep(self._waits.scatter())
        async with self._turns:
            return await self._ask(http)

    def _hello(self, seat: Seat) -> pb.Hello:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        profile = pb.Profile(cpus=os.cpu_count() or 1, memory_bytes=memory, version=__version__)
        return pb.Hello(
            client_id=self._identity, name=seat.name, part=seat.part, profile=profile, encodings=encodings.KNOWN
        )

    async def _welcomed(self, stream: Any, seat: Seat) -> float:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                first = await stream.read()
        except TimeoutError:
            stream.cancel()
            raise CombinerUnreachable(f"the combiner at {seat.address} did not say welcome") from None
        if first is grpc.aio.EOF or first.WhichOneof("command") != "welcome":
            raise Unavailable(f"the combiner at {seat.address} turned the stream away")
        return float(first.welcome.heartbeat_s)

    async def _obey(self, stream: Any, second: SecondThoughts, heart: Heart) -> None:
        while (command := await stream.read()) is not grpc.aio.EOF:
            match command.WhichOneof("command"):
                case "run":
                    self._tasks.take(command.run)
                case "cancel":
                    self._tasks.cancel(command.cancel.task_id, command.cancel.reason)
                case "ended":
                    self._tasks.round_ended(command.ended.round_id)
                case "drain":
                    log.info("%s", command.drain.reason)
                    return
                case "reconsider":
                    second.think(command.reconsider.reason)
                case "welcome":  # again: there are more clients now
                    heart.every_s = command.welcome.heartbeat_s


async def outgoing(events: Events) -> AsyncIterator[pb.ClientEvent]:
    """The client's half of the stream; None ends it, for gRPC goes on reading when the call has ended."""
    while (event := await events.get()) is not None:
        yield event


class Heart:
    """Puts heartbeats into the stream, each so long after the other."""

    def __init__(self, events: Events, every_s: float) -> None:
        self._events = events
        self.every_s = every_s

    async def beat(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self.every_s)
            self._events.put_nowait(pb.ClientEvent(heartbeat=pb.Heartbeat()))
