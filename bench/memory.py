"""A combiner's anonymous memory while it takes updates of 10 MB: from 100 clients at once, and from 10.

The combiner is a process of its own; the clients share another, each with a connection of its own, and follow
a script: fetch the model, upload an update, submit. This process is the reducer, and watches.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import numpy as np

from bench.anonymous import high_water, peak
from bench.figure import Figure
from bench.network import combiner, free_port, wait_until
from fedn.cli.processes import Processes
from fedn.errors import RoundFailed
from fedn.model.safetensors import digest_of, write_model
from fedn.wire.channel import dial
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc, control_pb2_grpc
from fedn.wire.v1 import control_pb2 as control

FEW = 10
MANY = 100
BLOB_BYTES = 10_000_000
ROUND_TIMEOUT_S = 300.0
LOOK_S = 2.0
NOWHERE = "http://127.0.0.1:9"  # a combiner works without its reducer's REST interface


@dataclass(frozen=True)
class Seen:
    """One round at a combiner: bytes and seconds."""

    idle: int
    peak: int
    high_water: int
    seconds: float


def run(*, few: int = FEW, many: int = MANY, blob_bytes: int = BLOB_BYTES) -> list[Figure]:
    """Peaks in MB, their ratio, and the seconds of the large round."""
    small, large = (_measure(clients, blob_bytes) for clients in (few, many))
    size = f"{blob_bytes / 1e6:g} MB"
    kernel = f"the kernel's own peak: at most {large.high_water / 1e6:.0f} MB"
    ratio = large.peak / small.peak
    rate = many * blob_bytes / 1e6 / large.seconds
    return [
        Figure(f"combiner's memory, {few} × {size}", small.peak / 1e6, "MB", note=f"idle {small.idle / 1e6:.0f} MB"),
        Figure(f"combiner's memory, {many} × {size}", large.peak / 1e6, "MB", note=kernel),
        Figure(f"combiner's memory, {many} to {few}", ratio, "×", target=1.2, note="peaks of RssAnon"),
        Figure(f"round of {many} × {size}", large.seconds, "s", note=f"{rate:.0f} MB/s of updates, each fetched first"),
    ]


def _measure(clients: int, blob_bytes: int) -> Seen:
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, Processes(Path(name) / "logs") as processes:
        place, port = Path(name), free_port()
        child = combiner(processes, place / "combiner", reducer=NOWHERE, port=port)
        address = f"127.0.0.1:{port}"
        wait_until(lambda: _attached(address) == 0, processes)
        context = multiprocessing.get_context("spawn")
        updates = [_write(place / f"update-{k}", blob_bytes, k + 1) for k in range(clients)]
        uploaders = context.Process(target=_follow_script, args=(address, updates), daemon=True)
        uploaders.start()
        try:
            wait_until(lambda: _attached(address) == clients, processes)
            with peak(child.process.pid) as seen:
                began = time.perf_counter()
                asyncio.run(_round(address, place, clients, blob_bytes))
                seconds = time.perf_counter() - began
            return Seen(seen.at_first, seen.most, high_water(child.process.pid), seconds)
        finally:
            uploaders.terminate()
            uploaders.join()


def _attached(address: str) -> int:
    """How many clients are there; -1 while the combiner starts."""

    async def ask() -> int:
        async with dial(address) as channel:
            report = await control_pb2_grpc.ControlStub(channel).Report(control.ReportRequest(), timeout=LOOK_S)
            return len(report.clients)

    try:
        return asyncio.run(ask())
    except grpc.aio.AioRpcError:
        return -1


def _write(path: Path, size: int, number: int) -> Path:
    weights = np.random.default_rng(0).standard_normal(size // 4, np.float32)
    weights[-1] = number
    write_model(path, {"weights": weights})
    return path


async def _round(address: str, place: Path, clients: int, blob_bytes: int) -> None:
    """The reducer's part: order the round, wait for its outcome, fetch the sums."""
    files = {digest_of(path): path for path in (_write(place / "model", blob_bytes, 0), _package(place / "package"))}
    model, package = files
    request = control.StartRoundRequest(
        term=1,
        round_id="r",
        session_id="s",
        round=1,
        kind=control.ROUND_KIND_TRAIN,
        model=model,
        model_size=files[model].stat().st_size,
        package=package,
        package_size=files[package].stat().st_size,
        participants=[control.Participant(client_id=str(k), part=k, seed=k) for k in range(clients)],
        round_timeout_s=ROUND_TIMEOUT_S,
        settings="{}",
    )
    async with dial(address) as channel:
        reducer = control_pb2_grpc.ControlStub(channel)
        for digest, path in files.items():
            await upload(channel, path, digest=digest)
        await reducer.StartRound(request)
        async for progress in reducer.AwaitRound(control.AwaitRoundRequest(term=1, round_id="r")):
            outcome = progress.outcome
        answers = [client.status for client in outcome.clients]
        if answers != ["accepted"] * clients:
            raise RoundFailed(f"{clients} updates were sent, and came to {answers}")
        await download(channel, digest=outcome.sum, size=outcome.sum_size, destination=place / "sum")
        await reducer.EndRound(control.EndRoundRequest(term=1, round_id="r", committed=True))


def _package(path: Path) -> Path:
    path.write_bytes(b"nobody unpacks it")
    return path


def _follow_script(address: str, updates: list[Path]) -> None:
    async def follow() -> None:
        async with asyncio.TaskGroup() as group:
            for number, update in enumerate(updates):
                group.create_task(_client(address, str(number), update))

    asyncio.run(follow())


async def _client(address: str, client_id: str, update: Path) -> None:
    async with dial(address) as channel:
        stub = combiner_pb2_grpc.CombinerStub(channel)
        stream = stub.Attach()
        await stream.write(pb.ClientEvent(hello=pb.Hello(client_id=client_id, name=client_id)))
        beating = asyncio.create_task(_beat(stream))
        async for command in stream:
            if command.WhichOneof("command") == "run":
                await _work(address, channel, command.run, client_id, update)
        beating.cancel()


async def _beat(stream: grpc.aio.StreamStreamCall[pb.ClientEvent, pb.CombinerCommand]) -> None:
    while True:
        await asyncio.sleep(1.0)
        await stream.write(pb.ClientEvent(heartbeat=pb.Heartbeat()))


async def _work(address: str, channel: grpc.aio.Channel, task: pb.RunTask, client_id: str, update: Path) -> None:
    model = update.with_name(f"model-of-{client_id}")
    await download(channel, digest=task.model, size=task.model_size, destination=model)
    digest = await asyncio.to_thread(digest_of, update)
    async with dial(address) as own:  # as a client does
        await upload(own, update, digest=digest, round_id=task.round_id, client_id=client_id)
    result = pb.TaskResult(client_id=client_id, task_id=task.task_id, round_id=task.round_id)
    result.update.CopyFrom(pb.Update(model=digest, base_model=task.model, num_examples=1))
    await combiner_pb2_grpc.CombinerStub(channel).Submit(result)
