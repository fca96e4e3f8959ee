"""Thousands of clients without a trainer in a few processes, each client on a TCP connection of its own.

::

    parent: Crowd ──begin──▶ process: Member, Member, … ──each its connection──▶ combiner
              ▲                 │
              └──── Tally ◀─────┘   shared memory: how many are attached, attempts that failed, tasks that came
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc.aio

from bench.scripted import MIN_RATE_BYTES_S, work
from fedn.client.agent import WELCOME_TIMEOUT_S
from fedn.client.link import Link
from fedn.client.transfers import Transfers
from fedn.storage.descriptors import raise_limit
from fedn.wire.backoff import delays
from fedn.wire.channel import dial
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc

OF_A_PROCESS = 2_500
BEAT = pb.ClientEvent(heartbeat=pb.Heartbeat())


class Count:
    """A number that all processes share, and when it grew last, on the clock of time.monotonic."""

    def __init__(self, context: Any) -> None:
        self._number: Synchronized[int] = context.Value("l", 0)
        self._at: Synchronized[float] = context.Value("d", 0.0)

    def add(self, more: int = 1) -> None:
        """Count; from any process."""
        with self._number.get_lock():
            self._number.value += more
            self._at.value = time.monotonic()

    @property
    def number(self) -> int:
        """How many there are."""
        return self._number.value

    @property
    def at(self) -> float:
        """When the last was counted."""
        return self._at.value


@dataclass(frozen=True)
class Tally:
    """What the clients of all processes have seen."""

    ready: Count  # processes that have begun
    attached: Count
    failed: Count  # attempts to attach
    lost: Count  # streams that ended
    tasks: Count


class Crowd:
    """The parent's end."""

    def __init__(self, tally: Tally, begin: Event, pids: Sequence[int]) -> None:
        self.tally = tally
        self.pids = pids
        self._begin = begin

    def begin(self) -> float:
        """Let all clients attach; returns the time."""
        began = time.monotonic()
        self._begin.set()
        return began


@contextmanager
def crowd(address: str, folder: Path, model: Path, names: Sequence[str], *, at_once: int) -> Iterator[Crowd]:
    """Processes with these clients, `at_once` of each dial at the same time; they wait for `begin`."""
    context = multiprocessing.get_context("spawn")
    tally, begin = Tally(*(Count(context) for _ in range(5))), context.Event()
    shares = [tuple(names[k : k + OF_A_PROCESS]) for k in range(0, len(names), OF_A_PROCESS)]
    processes = [
        context.Process(target=_serve, args=(address, folder, model, share, at_once, tally, begin), daemon=True)
        for share in shares
    ]
    for process in processes:
        process.start()
    try:
        yield Crowd(tally, begin, [process.pid for process in processes if process.pid is not None])
    finally:
        for process in processes:
            process.kill()  # a thousand farewells would take long
        for process in processes:
            process.join()


def _serve(
    address: str, folder: Path, model: Path, names: Sequence[str], at_once: int, tally: Tally, begin: Event
) -> None:
    logging.disable(logging.CRITICAL)
    gc.disable()  # a process of one client would have little to go through
    raise_limit()
    turns = asyncio.Semaphore(at_once)
    bytes_ = model.read_bytes()
    tally.ready.add()
    begin.wait()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(Member(address, name, folder, bytes_, turns, tally).serve())

    asyncio.run(all_of_them())


class Member:
    """One client."""

    def __init__(
        self, address: str, name: str, folder: Path, model: bytes, turns: asyncio.Semaphore, tally: Tally
    ) -> None:
        self._address = address
        self._name = name
        self._update = folder / f"update-{name}"
        self._model = model
        self._turns = turns
        self._tally = tally
        self._every_s = 0.0

    async def serve(self) -> None:
        """Attach, obey, and come back when the stream ends."""
        waits = delays()
        while True:
            async with dial(self._address) as channel:
                try:
                    async with self._turns:
                        stream, beating = await self._attach(channel)
                except (grpc.aio.AioRpcError, TimeoutError):
                    self._tally.failed.add()
                else:
                    self._tally.attached.add()
                    await self._obey(channel, stream)
                    beating.cancel()
                    self._tally.lost.add()
            await asyncio.sleep(next(waits))

    async def _attach(self, channel: grpc.aio.Channel) -> tuple[Any, asyncio.Task[None]]:
        stream = combiner_pb2_grpc.CombinerStub(channel).Attach()
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            await stream.write(pb.ClientEvent(hello=pb.Hello(client_id=self._name, name=self._name)))
            first: Any = await stream.read()
        if first is grpc.aio.EOF:
            raise TimeoutError
        self._every_s = first.welcome.heartbeat_s
        return stream, asyncio.create_task(self._beat(stream))

    async def _obey(self, channel: grpc.aio.Channel, stream: Any) -> None:
        async with _quietly():
            while (command := await stream.read()) is not grpc.aio.EOF:
                match command.WhichOneof("command"):
                    case "run":
                        self._tally.tasks.add()
                        await self._work(channel, command.run)
                    case "welcome":
                        self._every_s = command.welcome.heartbeat_s

    async def _beat(self, stream: Any) -> None:
        async with _quietly():
            while True:
                await asyncio.sleep(self._every_s)
                await stream.write(BEAT)

    async def _work(self, channel: grpc.aio.Channel, task: pb.RunTask) -> None:
        link = Link()
        link.connect(channel)
        self._update.write_bytes(self._model[:-4] + struct.pack("<f", int(self._name)))
        transfers = Transfers(link, identity=self._name, min_rate_bytes_s=MIN_RATE_BYTES_S)
        await work(transfers, task, self._name, self._update)


@asynccontextmanager
async def _quietly() -> AsyncIterator[None]:
    """The combiner is gone: the client comes back."""
    try:
        yield
    except grpc.aio.AioRpcError:
        return
