"""Clients that hold nothing, for a benchmark of many large updates: neither disk nor memory grows with their number.

Each has a connection of its own and answers every task at once. What it fetches is hashed and dropped; what it uploads
is one file that all share, but for its last value, which is each client's own in each round: of two equal updates the
second would not travel. Like a real client it fetches a model once, also when it validates it first and trains from it
then. With a learning rate of 0 a real one would do the same work.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from fedn.storage.descriptors import raise_limit
from fedn.wire.channel import dial
from fedn.wire.settings import DEFAULTS
from fedn.wire.v1 import blobs_pb2 as blobs
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub

OWN = struct.Struct("<f")  # what is each update's own: its last value
MOST_CLIENTS = 2**12  # so that the number of a round and of a client fit a float32 together


@dataclass(frozen=True)
class Moment:
    """When a client had the task of a round, and the model for it."""

    round_id: str
    given: float
    ready: float


@contextmanager
def clients(addresses: list[str], template: Path, count: int) -> Iterator[Path]:
    """So many clients in a process of their own, dealt out to the combiners; gives the file of their moments.

    `template` is a model of the session's schema.
    """
    assert count <= MOST_CLIENTS
    moments = template.with_name("moments")
    moments.touch()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(addresses, template, count, moments), daemon=True)
    process.start()
    try:
        yield moments
    finally:
        process.terminate()
        process.join()


def identity(number: int) -> str:
    """The id of a client, counted from 0."""
    return f"c{number:05d}"


def read(moments: Path) -> list[Moment]:
    """What the clients have noted."""
    lines = (line.split() for line in moments.read_text().splitlines())
    return [Moment(round_id, float(given), float(ready)) for round_id, given, ready in lines]


def _serve(addresses: list[str], template: Path, count: int, moments: Path) -> None:
    raise_limit()

    async def follow_script() -> None:
        with template.open("rb", buffering=0) as file, moments.open("a", buffering=1) as notes:
            shared = Shared.of(file.fileno())
            async with asyncio.TaskGroup() as group:
                for k in range(count):
                    client = Client(k, addresses[k % len(addresses)], shared)
                    group.create_task(client.run(lambda m: print(m.round_id, m.given, m.ready, file=notes)))

    asyncio.run(follow_script())


@dataclass(frozen=True)
class Shared:
    """The file that all upload, and the hash of all of it but the last value."""

    file: int
    size: int
    hashed: Any

    @staticmethod
    def of(file: int) -> Shared:
        """Read it through."""
        size, hashed, done = os.fstat(file).st_size, hashlib.sha256(), 0
        while done < size - OWN.size:
            block = os.pread(file, min(2**20, size - OWN.size - done), done)
            hashed.update(block)
            done += len(block)
        return Shared(file, size, hashed)

    def digest(self, own: bytes) -> str:
        """The sha256 with this last value."""
        hashed = self.hashed.copy()
        hashed.update(own)
        return str(hashed.hexdigest())

    def chunk(self, offset: int, own: bytes) -> bytes:
        """What goes into one message."""
        data = os.pread(self.file, DEFAULTS.chunk_bytes, offset)
        missing = offset + len(data) - (self.size - OWN.size)
        return data if missing <= 0 else data[:-missing] + own[OWN.size - missing :]


@dataclass
class Client:
    """One client."""

    number: int
    address: str
    shared: Shared
    has: set[str] = field(default_factory=set)

    @property
    def identity(self) -> str:
        """Its id and name."""
        return identity(self.number)

    async def run(self, note: Callable[[Moment], None]) -> None:
        """Attach, and answer tasks until it is ended."""
        async with dial(self.address) as channel:
            stub = combiner_pb2_grpc.CombinerStub(channel)
            stream: Any = stub.Attach()
            hello = pb.Hello(client_id=self.identity, name=self.identity, part=self.number)
            await stream.write(pb.ClientEvent(hello=hello))
            welcome: Any = await stream.read()
            beating = asyncio.create_task(_beat(stream, welcome.welcome.heartbeat_s))
            while (command := await stream.read()) is not grpc.aio.EOF:
                if command.WhichOneof("command") == "run":
                    task, given = command.run, time.time()
                    await self._fetch(channel, task)
                    note(Moment(task.round_id, given, time.time()))
                    await stub.Submit(await self._result(channel, task))
            beating.cancel()

    async def _result(self, channel: grpc.aio.Channel, task: pb.RunTask) -> pb.TaskResult:
        result = pb.TaskResult(client_id=self.identity, task_id=task.task_id, round_id=task.round_id)
        if task.kind == pb.TASK_KIND_TRAIN:
            own = OWN.pack(task.round * MOST_CLIENTS + self.number)
            digest = self.shared.digest(own)
            await self._upload(channel, digest, own, task.round_id)
            result.update.CopyFrom(pb.Update(model=digest, base_model=task.model, num_examples=1))
        else:
            measured = pb.Validation(base_model=task.model, num_examples=1, metrics={"loss": 1.0})
            result.validation.CopyFrom(measured)
        return result

    async def _fetch(self, channel: grpc.aio.Channel, task: pb.RunTask) -> None:
        if task.model in self.has:
            return
        hashed = hashlib.sha256()
        async for reply in BlobsStub(channel).Download(blobs.DownloadRequest(digest=task.model)):
            if reply.WhichOneof("step") == "data":
                await asyncio.to_thread(hashed.update, reply.data)
        assert hashed.hexdigest() == task.model
        self.has = {task.model}

    async def _upload(self, channel: grpc.aio.Channel, digest: str, own: bytes, round_id: str) -> None:
        size = self.shared.size
        start = blobs.UploadStart(digest=digest, size=size, round_id=round_id, client_id=self.identity)
        call: Any = BlobsStub(channel).Upload()
        await call.write(blobs.UploadRequest(start=start))
        offset = (await call.read()).grant.offset
        while offset < size:
            data = self.shared.chunk(offset, own)
            await call.write(blobs.UploadRequest(data=data))
            offset += len(data)
        await call.done_writing()
        assert (await call.read()).WhichOneof("step") == "stored"


async def _beat(stream: Any, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await stream.write(pb.ClientEvent(heartbeat=pb.Heartbeat()))
