"""A real combiner on a real socket, driven by hand: the test is the reducer and the clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.combiner.server import Combiner
from fedn.config import CombinerSettings
from fedn.model.safetensors import load_tensors, open_model, write_model
from fedn.wire.channel import dial
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc, control_pb2, control_pb2_grpc

WAIT_S = 20.0


class Hand:
    """One client, moved by the test: what it receives waits in `commands`."""

    def __init__(self, channel: grpc.aio.Channel, client_id: str) -> None:
        self.client_id = client_id
        self.channel = channel
        self.stub = combiner_pb2_grpc.CombinerStub(channel)
        self.stream: Any = None

    async def attach(self, *, part: int = 0, encodings: Iterable[str] = ()) -> pb.Welcome:
        """Open a stream and say hello."""
        self.stream = self.stub.Attach()
        hello = pb.Hello(client_id=self.client_id, name=self.client_id, part=part, encodings=encodings)
        await self.stream.write(pb.ClientEvent(hello=hello))
        first = await asyncio.wait_for(self.stream.read(), WAIT_S)
        welcome: pb.Welcome = first.welcome
        return welcome

    async def task(self) -> pb.RunTask:
        """The next command, which must be a task."""
        command = await self.command()
        assert command.WhichOneof("command") == "run", command
        return command.run

    async def command(self) -> pb.CombinerCommand:
        """The next command."""
        return await asyncio.wait_for(self.stream.read(), WAIT_S)

    def leave(self) -> None:
        """Break the stream off."""
        self.stream.cancel()

    async def send(self, path: Path, digest: str, round_id: str) -> None:
        """Upload an update."""
        await upload(self.channel, path, digest=digest, round_id=round_id, client_id=self.client_id)

    async def submit(self, round_id: str, **outcome: Any) -> pb.Receipt:
        """Submit a result."""
        task_id = f"{round_id}.{self.client_id}"
        result = pb.TaskResult(client_id=self.client_id, task_id=task_id, round_id=round_id, **outcome)
        return await self.stub.Submit(result)


@dataclass
class Table:
    """A combiner, a channel to it, and a model to train on."""

    combiner: Combiner
    channel: grpc.aio.Channel
    folder: Path
    model: str = ""
    model_size: int = 0
    package: str = ""
    package_size: int = 1
    hands: dict[str, Hand] = field(default_factory=dict)

    def hand(self, client_id: str) -> Hand:
        """A client of that id, on a channel of its own."""
        return self.hands.setdefault(client_id, Hand(dial(self.combiner.address), client_id))

    def write(self, tensors: Mapping[str, np.ndarray[Any, Any]], name: str = "update") -> tuple[Path, str]:
        """A model file."""
        path = self.folder / name
        return path, write_model(path, tensors)

    @property
    def control(self) -> Any:
        """The reducer's stub."""
        return control_pb2_grpc.ControlStub(self.channel)

    async def stage(self, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Send a model and a package, as the reducer does."""
        path, self.model = self.write(tensors, "model")
        self.model_size = path.stat().st_size
        await upload(self.channel, path, digest=self.model)
        package, self.package = self.write({"p": np.zeros(1, np.uint8)}, "package")
        await upload(self.channel, package, digest=self.package)

    async def start(
        self,
        *clients: str,
        round_id: str = "r1",
        term: int = 1,
        timeout_s: float = 30.0,
        kind: str = "TRAIN",
        settings: str = "{}",
        epoch: int = 1,
        encodings: Iterable[str] = (),
    ) -> control_pb2.StartRoundReply:
        """Start a round; with a higher epoch, one that runs goes on with these clients."""
        request = control_pb2.StartRoundRequest(
            term=term,
            round_id=round_id,
            session_id="s",
            round=1,
            kind=f"ROUND_KIND_{kind}",
            model=self.model,
            model_size=self.model_size,
            package=self.package,
            package_size=self.package_size,
            participants=[control_pb2.Participant(client_id=c, part=k, seed=k) for k, c in enumerate(clients)],
            round_timeout_s=timeout_s,
            settings=settings,
            epoch=epoch,
            encodings=encodings,
        )
        reply: control_pb2.StartRoundReply = await self.control.StartRound(request)
        return reply

    async def progress(self) -> control_pb2.RoundProgress:
        """Where the one round is."""
        report = await self.control.Report(control_pb2.ReportRequest())
        progress: control_pb2.RoundProgress = report.rounds[0].progress
        return progress

    async def outcome(self, round_id: str = "r1", term: int = 1) -> control_pb2.RoundOutcome:
        """Wait for the outcome."""

        async def last() -> control_pb2.RoundOutcome:
            async for progress in self.control.AwaitRound(control_pb2.AwaitRoundRequest(term=term, round_id=round_id)):
                if progress.HasField("outcome"):
                    outcome: control_pb2.RoundOutcome = progress.outcome
                    return outcome
            raise AssertionError("the stream ended without an outcome")

        return await asyncio.wait_for(last(), WAIT_S)

    async def fetch(self, digest: str, size: int) -> Path:
        """Take a blob."""
        path = self.folder / digest
        await download(self.channel, digest=digest, size=size, destination=path)
        return path


def settings(folder: Path, **more: Any) -> CombinerSettings:
    """Settings of a combiner for a test; a `Hand` has no heart, so silence is borne for long."""
    usual: dict[str, Any] = {
        "name": "north",
        "dir": folder / "combiner",
        "reconnect_grace_s": 5.0,
        "heartbeat_s": 600.0,
    }
    return CombinerSettings(**(usual | more))


@asynccontextmanager
async def table(folder: Path, **more: Any) -> AsyncIterator[Table]:
    """A combiner that listens, until the block ends; started again over the same folder it is the same combiner."""
    combiner = Combiner(settings(folder, **more))
    await combiner.start()
    channel = dial(combiner.address)
    laid = Table(combiner, channel, folder)
    try:
        yield laid
    finally:
        for hand in laid.hands.values():
            await hand.channel.close()
        await channel.close()
        await combiner.stop()


async def until(true: Callable[[], object]) -> None:
    """Look again and again until it is true, for what has no event to wait for; not for long."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


ZEROS = {"w": np.zeros(4, np.float32)}


def filled(value: float) -> dict[str, np.ndarray[Any, Any]]:
    return {"w": np.full(4, value, np.float32)}


async def arrive(laid: Table, *clients: str) -> list[Hand]:
    await laid.stage(ZEROS)
    hands = [laid.hand(client) for client in clients]
    for part, hand in enumerate(hands):
        await hand.attach(part=part)
    return hands


async def train(laid: Table, hand: Hand, value: float, examples: int = 1, round_id: str = "r1") -> pb.Receipt:
    """Take the task, upload a model filled with `value`, submit it."""
    await hand.task()
    path, digest = laid.write(filled(value), f"update-{hand.client_id}")
    await hand.send(path, digest, round_id)
    return await hand.submit(round_id, update=pb.Update(model=digest, base_model=laid.model, num_examples=examples))


async def mean_of(laid: Table, outcome: control_pb2.RoundOutcome) -> float:
    total = await laid.fetch(outcome.sum, outcome.sum_size)
    schema = open_model(laid.folder / "model").schema
    out = laid.folder / "mean"
    mean([open_sum(total, schema)], weight=outcome.weight, schema=schema, out=out)
    return float(load_tensors(out)["w"][0])
