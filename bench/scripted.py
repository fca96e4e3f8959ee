"""Clients without a trainer, for a benchmark: they follow a script, with a real client's transfers.

Each attaches, and answers every task so: fetch the model, upload the update that it was given, submit.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import numpy as np

from fedn.client.link import Link
from fedn.client.transfers import Transfers
from fedn.model.safetensors import digest_of, write_model
from fedn.wire.channel import dial
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc, control_pb2_grpc
from fedn.wire.v1 import control_pb2 as control

MIN_RATE_BYTES_S = 3_500.0
LOOK_S = 2.0


def some_model(size: int) -> bytes:
    """A model of about so many bytes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model"
        write_model(path, {"weights": np.random.default_rng(0).standard_normal(size // 4, np.float32)})
        return path.read_bytes()


def attached(address: str) -> int:
    """How many clients are there; -1 while the combiner starts."""

    async def ask() -> int:
        async with dial(address) as channel:
            report = await control_pb2_grpc.ControlStub(channel).Report(control.ReportRequest(), timeout=LOOK_S)
            return len(report.clients)

    try:
        return asyncio.run(ask())
    except grpc.aio.AioRpcError:
        return -1


@contextmanager
def clients(address: str, folder: Path, model: bytes, count: int) -> Iterator[None]:
    """So many clients in a process of their own, named by their number; no two of their updates are the same."""
    updates = [folder / f"update-{k}" for k in range(count)]
    for number, update in enumerate(updates, start=1):
        update.write_bytes(model[:-4] + struct.pack("<f", number))
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(address, updates), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _serve(address: str, updates: list[Path]) -> None:
    async def follow_script() -> None:
        async with asyncio.TaskGroup() as group:
            for number, update in enumerate(updates):
                group.create_task(_client(address, str(number), update))

    asyncio.run(follow_script())


async def _client(address: str, client_id: str, update: Path) -> None:
    async with dial(address) as channel:
        link = Link()
        link.connect(channel)
        transfers = Transfers(link, identity=client_id, min_rate_bytes_s=MIN_RATE_BYTES_S)
        stream = combiner_pb2_grpc.CombinerStub(channel).Attach()
        await stream.write(pb.ClientEvent(hello=pb.Hello(client_id=client_id, name=client_id)))
        beating = asyncio.create_task(_beat(stream))
        async for command in stream:
            if command.WhichOneof("command") == "run":
                await work(transfers, command.run, client_id, update)
        beating.cancel()


async def _beat(stream: grpc.aio.StreamStreamCall[pb.ClientEvent, pb.CombinerCommand]) -> None:
    while True:
        await asyncio.sleep(1.0)
        await stream.write(pb.ClientEvent(heartbeat=pb.Heartbeat()))


async def work(transfers: Transfers, task: pb.RunTask, client_id: str, update: Path) -> None:
    """Do a task: fetch the model, upload the update, submit."""
    model = update.with_name(f"model-of-{client_id}")
    model.unlink(missing_ok=True)
    await transfers.fetch(task.model, task.model_size, model, give_up=_never)
    digest = await asyncio.to_thread(digest_of, update)
    await transfers.upload(update, digest, task.round_id, give_up=_never)
    result = pb.TaskResult(client_id=client_id, task_id=task.task_id, round_id=task.round_id)
    result.update.CopyFrom(pb.Update(model=digest, base_model=task.model, num_examples=1))
    await transfers.submit(result, give_up=_never)


def _never() -> bool:
    return False
