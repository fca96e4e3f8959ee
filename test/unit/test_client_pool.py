"""Many clients in one process: each itself to the network, and no more tasks at a time than allowed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.client.executor import Turns
from fedn.client.pool import serve, work
from fedn.client.workers import Workers
from fedn.config import ClientSettings
from fedn.errors import AccessRefused, Conflict, NameTaken, TaskTimeout
from fedn.package.archive import create
from fedn.package.project import load_project
from fedn.wire.transfer import upload
from test.unit.combiner_bench import Table, table, until
from test.unit.rest_stub import Reply, RestStub

ISOLATIONS = ("process", "worker", "inline")
# Notes who works when; a trained model is the given one.
SCRIPT = """\
import json, os, pathlib, shutil, sys, time
kind, model, out = sys.argv[1:]
settings = json.loads(pathlib.Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text())
begun = time.monotonic()
deadline = begun + 30
while not os.path.exists(settings["go"]) and time.monotonic() < deadline:
    time.sleep(0.002)
time.sleep(0.02)
shutil.copy(model, out)
pathlib.Path(out + "-metadata").write_text(json.dumps({"num_examples": 1 + int(os.environ["FEDN_PART"])}))
note = {"pid": os.getpid(), "part": os.environ["FEDN_PART"], "begun": begun, "ended": time.monotonic()}
with open(settings["notes"], "a") as notes:
    notes.write(json.dumps(note) + "\\n")
"""


def seats(laid: Table, count: int) -> list[Reply]:
    at = {"combiner": "north", "address": laid.combiner.address, "spread_s": 0}
    return [Reply(200, at | {"part": k, "name": f"lab-{k + 1}"}) for k in range(count)]


async def stage(laid: Table, folder: Path, isolation: str) -> None:
    """Give the combiner a model and a package whose train is isolated like this."""
    await laid.stage({"w": np.zeros(3, np.float32)})
    (folder / "project").mkdir()
    (folder / "project" / "work.py").write_text(SCRIPT)
    (folder / "project" / "fedn.yaml").write_text(
        f"entry_points:\n  train: {{command: python work.py train, isolation: {isolation}}}\n"
    )
    laid.package = create(load_project(folder / "project"), folder / "package.tar")
    laid.package_size = (folder / "package.tar").stat().st_size
    await upload(laid.channel, folder / "package.tar", digest=laid.package)


@asynccontextmanager
async def pool(laid: Table, folder: Path, **more: Any) -> AsyncIterator[list[str]]:
    """A pool at work; gives the ids of its clients."""
    replicas = more["replicas"]
    async with RestStub(*seats(laid, replicas)) as reducer:
        settings = ClientSettings(reducer=reducer.address, dir=folder / "pool", name="lab", **more)
        running = asyncio.create_task(work(settings))
        await until(lambda: len(laid.combiner.roster.attached()) == replicas)
        try:
            yield [(folder / "pool" / str(k) / "id").read_text() for k in range(1, replicas + 1)]
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_each_is_a_client_of_its_own_and_few_work_at_a_time(tmp_path: Path, isolation: str) -> None:
    notes = tmp_path / "notes"
    async with table(tmp_path) as laid:
        await stage(laid, tmp_path, isolation)
        async with pool(laid, tmp_path, replicas=6, workers=2) as clients:
            attached = laid.combiner.roster.attached()
            assert {seat.name for seat in attached} == {f"lab-{k}" for k in range(1, 7)}
            assert len(set(clients)) == 6
            (tmp_path / "go").touch()
            told = json.dumps({"notes": str(notes), "go": str(tmp_path / "go")})
            for round_id in ("r1", "r2"):
                await laid.start(*clients, round_id=round_id, settings=told)
                outcome = await laid.outcome(round_id)
                assert [client.status for client in outcome.clients] == ["accepted"] * 6
                assert outcome.weight == sum(1 + seat.part for seat in attached)
            ran = [json.loads(line) for line in notes.read_text().splitlines()]
            assert at_once(ran) <= (1 if isolation == "inline" else 2)
            pids = {note["pid"] for note in ran}
            assert len(ran) == 12
            assert len(pids) == {"process": 12, "inline": 1}.get(isolation, len(pids))
            assert (len(pids) <= 2) == (isolation != "process")
            models = [path for path in (tmp_path / "pool" / "models").iterdir() if not path.suffix]
            assert len(models) == 1, "one copy for all"
    assert all(pid == os.getpid() or not Path(f"/proc/{pid}").exists() for pid in pids)


def at_once(ran: list[dict[str, Any]]) -> int:
    """How many tasks overlapped at most."""
    return max(len([1 for other in ran if other["begun"] <= note["begun"] < other["ended"]]) for note in ran)


async def test_identities_survive_the_process(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        async with pool(laid, tmp_path, replicas=3) as before:
            pass
        async with pool(laid, tmp_path, replicas=3) as after:
            assert before == after


async def test_names_are_asked_for_by_number(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, RestStub(*seats(laid, 2)) as reducer:
        settings = ClientSettings(reducer=reducer.address, dir=tmp_path / "pool", name="lab", replicas=2)
        running = asyncio.create_task(serve(settings))
        asked = {(await reducer.call()).query["name"] for _ in range(2)}
        assert asked == {"lab-1", "lab-2"}
        await until(lambda: len(laid.combiner.roster.attached()) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await running


@pytest.mark.parametrize("error", [NameTaken("lab-1 is taken"), AccessRefused("no")])
async def test_one_that_a_person_must_help_ends_all(tmp_path: Path, error: NameTaken | AccessRefused) -> None:
    async with table(tmp_path) as laid, RestStub(*seats(laid, 2), Reply.error(error)) as reducer:
        settings = ClientSettings(reducer=reducer.address, dir=tmp_path / "pool", replicas=3)
        with pytest.raises(type(error)):
            async with asyncio.timeout(20):
                await serve(settings)
        await until(lambda: not laid.combiner.roster.attached())


async def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, pool(laid, tmp_path, replicas=2):
        with pytest.raises(Conflict, match="another process works in the folder"):
            await work(ClientSettings(dir=tmp_path / "pool", replicas=2))


async def test_the_pool_is_ready_when_all_of_it_is_attached(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    async with table(tmp_path) as laid, pool(laid, tmp_path, replicas=2, ready_file=file):
        await until(lambda: json.loads(file.read_text())["reason"] is None)
        stream = laid.combiner.roster.attached()[0].stream
        assert stream is not None
        stream.close()
        await until(lambda: "1 of 2 clients are not attached" in str(json.loads(file.read_text())["reason"]))


async def test_who_waits_for_a_turn_waits_no_longer_than_its_time() -> None:
    turns = Turns(1)
    give_back = await turns.take(asyncio.get_running_loop().time() + 10)
    with pytest.raises(TaskTimeout, match="one of 1 workers was free"):
        await turns.take(0)
    give_back()
    (await turns.take(asyncio.get_running_loop().time() + 10))()
    await Workers(1).stop()
