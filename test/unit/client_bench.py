"""A real client (agent, tasks, scripts) at a real combiner; only the reducer is a stub that assigns the seat."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedn.client.agent import Agent
from fedn.client.attendance import Attendance
from fedn.client.cache import Cache
from fedn.client.executor import PackageExecutor
from fedn.client.link import Link
from fedn.client.tasks import Tasks
from fedn.client.transfers import Transfers
from fedn.client.workspace import Workspace
from fedn.config import ClientSettings
from fedn.model.safetensors import digest_of
from fedn.package.archive import create
from fedn.package.project import load_project
from fedn.storage.readiness import Readiness
from fedn.wire.rest import async_client
from fedn.wire.transfer import upload
from test.unit.combiner_bench import Table
from test.unit.rest_stub import Reply, RestStub

FEDN_YAML = """\
name: puppet
package: client
entry_points:
  train: python puppet.py train
  validate: python puppet.py validate
  predict: python puppet.py predict
"""
# Notes each run, then does what the settings ask for; a trained model is the given one with 7 in its last byte.
PUPPET = """\
import json, os, signal, sys, time
kind, model, out = sys.argv[1:]
settings = json.load(open(os.environ["FEDN_CLIENT_SETTINGS"]))
told = {key: value for key, value in os.environ.items() if key.startswith("FEDN_")}
with open(settings["runs"], "a") as runs:
    runs.write(json.dumps({"kind": kind, "pid": os.getpid(), "told": told}) + "\\n")
move = settings.get("move", "")
while move == "wait" and not os.path.exists(settings["runs"] + ".go"):
    time.sleep(0.005)
if move == "hang":
    time.sleep(600)
if move == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if move == "exit":
    print("the puppet fell over", file=sys.stderr)
    sys.exit(3)
if move == "silent":
    sys.exit(0)
if move == "folder":
    os.mkdir(out)
elif kind == "predict":
    open(out, "w").write(settings.get("predictions", '{"answer": [1, 2.5, null]}'))
elif kind == "validate":
    json.dump({"num_examples": 5, "accuracy": 0.5}, open(out, "w"))
elif move == "garbage":
    open(out, "wb").write(b"garbage")
else:
    open(out, "wb").write(open(model, "rb").read()[:-1] + b"\\x07")
if kind == "train" and move != "uncounted":
    json.dump({"num_examples": 3, "loss": 0.25}, open(out + "-metadata", "w"))
"""


@dataclass
class Life:
    """One life of a client's process: as if it were killed when it ends."""

    agent: Agent
    tasks: Tasks
    executor: PackageExecutor
    running: asyncio.Task[None]


@dataclass
class Bench:
    """A combiner, the reducer's stub, and the folder of one client."""

    laid: Table
    reducer: RestStub
    folder: Path
    identity: str = "c0"
    lives: list[Life] = field(default_factory=list)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What the puppet noted."""
        path = self.folder / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def tasks(self) -> Tasks:
        return self.lives[-1].tasks

    def settings(self, move: str = "") -> str:
        return json.dumps({"runs": str(self.folder / "runs"), "move": move})

    def go(self) -> None:
        """Let a waiting puppet go on."""
        (self.folder / "runs.go").touch()

    def live(self, **more: Any) -> Life:
        """Start the client in its folder."""
        settings = ClientSettings(**{"reducer": self.reducer.address, "name": "c"} | more)
        link = Link()
        cache = Cache(self.folder / "client")
        executor = PackageExecutor(settings, cache)
        workspace = Workspace(self.folder / "client")
        tasks = Tasks(settings, workspace, link, identity=self.identity, cache=cache, executor=executor)
        presence = Attendance(Readiness(settings.ready_file)).member()
        agent = Agent(settings, tasks=tasks, link=link, identity=self.identity, presence=presence, turns=self.turns)

        async def run() -> None:
            async with async_client(settings.reducer) as http:
                await agent.run(http)

        life = Life(agent, tasks, executor, asyncio.create_task(run()))
        self.lives.append(life)
        return life

    async def die(self) -> None:
        """End the present life."""
        life = self.lives.pop()
        life.running.cancel()
        await asyncio.gather(life.running, return_exceptions=True)
        await life.tasks.stop()
        await life.executor.stop()

    async def die_with_a_finished_training(self, folder: Path, **round_: Any) -> Path:
        """A life that trains for a round and ends before anything of it was sent; where its result is noted."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Transfers, "submit", _never)
            self.live()
            await self.attached()
            await self.laid.start("c0", settings=self.settings(), **round_)
            while not (noted := list(folder.glob("client/tasks/*/result.json"))):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
            await self.die()
        return noted[0]

    async def attached(self, laid: Table | None = None) -> None:
        """Until the client is attached."""
        roster = (laid or self.laid).combiner.roster
        async with asyncio.timeout(20):
            while not roster.attached():
                await asyncio.wait([roster.changed.next()])

    def seat(self, laid: Table, name: str = "north") -> None:
        """From now on the reducer sends the client there."""
        self.laid = laid
        given = {"combiner": name, "address": laid.combiner.address, "part": 4, "name": "c", "spread_s": 0}
        self.reducer.replies = [Reply(200, given)]

    async def stage(self, laid: Table, model: dict[str, Any]) -> None:
        """Give the combiner the model and the puppet's package."""
        await laid.stage(model)
        project = self.folder / "project"
        (project / "client").mkdir(parents=True, exist_ok=True)
        (project / "fedn.yaml").write_text(FEDN_YAML)
        (project / "client" / "puppet.py").write_text(PUPPET)
        archive = self.folder / "package.tar"
        laid.package = create(load_project(project), archive)
        laid.package_size = archive.stat().st_size
        await upload(laid.channel, archive, digest=laid.package)
        assert digest_of(archive) == laid.package


@asynccontextmanager
async def bench(folder: Path, laid: Table) -> AsyncIterator[Bench]:
    """The reducer's stub and a client's folder; the client ends with the block."""
    async with RestStub() as reducer:
        set_up = Bench(laid, reducer, folder)
        set_up.seat(laid)
        try:
            yield set_up
        finally:
            while set_up.lives:
                await set_up.die()


def alive(pid: int) -> bool:
    """True while the process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _never(*_: object, **__: object) -> None:
    await asyncio.Event().wait()
