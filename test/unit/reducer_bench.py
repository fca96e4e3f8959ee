"""The reducer's rounds over real combiners on real sockets; the clients are moved by the test."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from fedn.combiner.server import Combiner
from fedn.config import ReducerSettings
from fedn.errors import Unavailable
from fedn.model.safetensors import load_tensors, write_model
from fedn.reducer.desk import Desk
from fedn.reducer.discovery import add_combiner
from fedn.reducer.network import Network
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.plan import Plan
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.wire.channel import dial
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import WAIT_S, Hand, settings

AGAIN_S = 0.05
Answer = Callable[["Client", pb.RunTask], Awaitable[None]]


@dataclass
class Client:
    """A client that answers each task with `answer`; `tasks` are those that it was given."""

    client_id: str
    part: int
    combiner: str
    hand: Hand
    folder: Path
    answer: Answer
    tasks: list[pb.RunTask] = field(default_factory=list)
    given: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connected(self) -> ConnectedClient:
        return ConnectedClient(self.client_id, self.client_id, self.part, self.combiner)

    async def serve(self) -> None:
        while (command := await self.hand.stream.read()) is not grpc.aio.EOF:
            if command.WhichOneof("command") == "run":
                self.tasks.append(command.run)
                self.given.set()
                await self._answer(command.run)

    async def _answer(self, task: pb.RunTask) -> None:
        """As a client does: again when the combiner is not ready for it."""
        while True:
            try:
                return await self.answer(self, task)
            except (Unavailable, grpc.aio.AioRpcError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(AGAIN_S)


def learns(value: float, *, examples: int = 1, **metrics: float) -> Answer:
    """Train to a model filled with `value`; validate with these metrics."""

    async def answer(client: Client, task: pb.RunTask) -> None:
        if task.kind == pb.TASK_KIND_VALIDATE:
            measured = pb.Validation(base_model=task.model, num_examples=examples, metrics=metrics)
            await client.hand.submit(task.round_id, validation=measured)
            return
        path = client.folder / f"{client.client_id}-{len(client.tasks)}"
        digest = write_model(path, {"w": np.full(4, value, np.float32)})
        await client.hand.send(path, digest, task.round_id)
        update = pb.Update(model=digest, base_model=task.model, num_examples=examples, metrics=metrics)
        await client.hand.submit(task.round_id, update=update)

    return answer


def predicts(content: bytes) -> Answer:
    """Upload this as predictions, whatever it is."""

    async def answer(client: Client, task: pb.RunTask) -> None:
        path = client.folder / f"{client.client_id}-{len(client.tasks)}.json"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        await client.hand.send(path, digest, task.round_id)
        prediction = pb.Prediction(predictions=digest, base_model=task.model)
        await client.hand.submit(task.round_id, prediction=prediction)

    return answer


async def fails(client: Client, task: pb.RunTask) -> None:
    failure = pb.Failure(code="entry_point_failed", reason="exit code 3", stderr_tail="Traceback …")
    await client.hand.submit(task.round_id, failure=failure)


async def hangs(client: Client, task: pb.RunTask) -> None:
    """No answer."""


@dataclass
class Reducer:
    """Desk and network of a reducer with a seed model and a package, and what hangs on it."""

    desk: Desk
    network: Network
    folder: Path
    stack: AsyncExitStack
    package: str
    combiners: dict[str, Combiner] = field(default_factory=dict)

    async def combiner(self, name: str, **more: Any) -> Combiner:
        """Start a combiner, or start it again: the same folder, another port."""
        combiner = Combiner(settings(self.folder, **{"name": name, "dir": self.folder / name} | more))
        await combiner.start()
        self.combiners[name] = combiner
        self.stack.push_async_callback(self._stop, name, combiner)
        self.announce(name, combiner.identity, combiner.address)
        return combiner

    async def kill(self, name: str) -> None:
        await self._stop(name, self.combiners[name])

    async def _stop(self, name: str, combiner: Combiner) -> None:
        if self.combiners.get(name) is combiner:
            del self.combiners[name]
            await combiner.stop()

    def announce(self, name: str, identity: str, address: str) -> None:
        add_combiner(self.desk.state, [], name=name, identity=identity, address=address)

    async def client(
        self,
        client_id: str,
        combiner: str,
        answer: Answer,
        *,
        part: int | None = None,
        encodings: Sequence[str] = (),
    ) -> Client:
        """Attach a client that answers by itself."""
        channel = dial(self.combiners[combiner].address)
        self.stack.push_async_callback(channel.close)
        part = int(client_id[1:]) if part is None else part
        client = Client(client_id, part, combiner, Hand(channel, client_id), self.folder, answer)
        await client.hand.attach(part=part, encodings=encodings)
        serving = asyncio.create_task(client.serve())
        self.stack.push_async_callback(gone, serving)
        return client

    def plan(self, *clients: Client, round_id: str = "s.1.train.1", kind: str = "train", **config: Any) -> Plan:
        latest = self.desk.trail.latest()
        assert latest is not None
        return Plan(
            round_id=round_id,
            session="s",
            round=int(round_id.split(".")[1]),
            kind=kind,
            model=latest["model"],
            package=self.package,
            participants=[client.connected for client in clients],
            config=SessionConfig(seed=7, **config),
            term=1,
        )

    def round(self, plan: Plan, *, fresh: Callable[[], bool] = lambda: True, give_up_s: float = 20.0) -> RoundRun:
        desk = replace(self.desk, settings=replace(self.desk.settings, combiner_grace_s=give_up_s))
        return RoundRun(desk, self.network, plan, fresh=fresh)

    def value(self, model: str) -> float:
        """What the model is filled with."""
        tensor = load_tensors(self.desk.local(model))["w"]
        assert (tensor == tensor[0]).all()
        return float(tensor[0])

    def document(self, round_id: str = "s.1.train.1") -> dict[str, Any]:
        document = self.desk.state.get("rounds", round_id)
        assert document is not None
        return document


async def gone(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def soon(work: Awaitable[Any]) -> Any:
    """The result, which must not take long."""
    return await asyncio.wait_for(work, WAIT_S)


def plant(desk: Desk, folder: Path) -> str:
    """A seed model of zeros and a package; returns the package's digest. To the reducer a package is bytes."""
    seed = write_model(folder / "seed", {"w": np.zeros(4, np.float32)})
    desk.blobs.put(folder / "seed", seed)
    desk.trail.plant(seed, time=time.time())
    package = write_model(folder / "package", {"p": np.zeros(1, np.uint8)})
    desk.blobs.put(folder / "package", package)
    desk.state.insert(
        "context",
        {
            "_id": "package",
            "digest": package,
            "name": "p",
            "size": 1,
            "entry_points": {"train": [], "validate": [], "predict": []},
        },
    )
    return package


@asynccontextmanager
async def reducer(folder: Path, *, combiners: Sequence[str] = ()) -> AsyncIterator[Reducer]:
    """A reducer's desk and network; everything on it ends with the block."""
    desk = Desk.open(ReducerSettings(dir=folder / "reducer"))
    async with AsyncExitStack() as stack:
        stack.callback(desk.close)
        laid = Reducer(desk, Network(desk.state), folder, stack, plant(desk, folder))
        for name in combiners:
            await laid.combiner(name)
        stack.push_async_callback(laid.network.close)
        yield laid
