"""A client inside a program: the same agent, with functions for entry points."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.client import Client, Task, Update, Validation
from fedn.errors import ConfigInvalid, RoundClosed
from fedn.model.safetensors import load_tensors
from fedn.wire.v1 import control_pb2 as control
from test.unit.combiner_bench import Table, table, until
from test.unit.rest_stub import Reply, RestStub

Model = dict[str, Any]


@asynccontextmanager
async def attached(laid: Table, folder: Path, **functions: Any) -> AsyncIterator[str]:
    """A program's client at the combiner; gives its id."""
    seat = {"combiner": "north", "address": laid.combiner.address, "part": 4, "name": "own", "spread_s": 0}
    async with RestStub(Reply(200, seat)) as reducer:
        client = Client(reducer=reducer.address, dir=folder / "own", name="own", parts=9, data_dir=folder)
        for name, function in functions.items():
            getattr(client, name)(function)
        running = asyncio.create_task(client.arun())
        await until(lambda: laid.combiner.roster.attached())
        try:
            yield (folder / "own" / "id").read_text()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def outcome(laid: Table, client: str, *, kind: str = "TRAIN", **more: Any) -> control.ClientOutcome:
    await laid.start(client, kind=kind, settings='{"step": 2}', **more)
    ended = await laid.outcome()
    assert ended.clients[0].client_id == client
    return ended.clients[0]


async def test_functions_train_over_named_tensors(tmp_path: Path) -> None:
    told: list[Task] = []

    def train(model: Model, task: Task) -> Update:
        told.append(task)
        model["w"] += task.settings["step"]
        return Update(model, num_examples=7, metrics={"loss": np.float32(0.5)})

    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(3, np.float32)})
        async with attached(laid, tmp_path, train=train) as client:
            done = await outcome(laid, client)
    assert (done.status, done.num_examples, dict(done.metrics)) == ("accepted", 7, {"loss": 0.5})
    task = told[0]
    assert (task.session, task.round, task.part, task.parts, task.seed) == ("s", 1, 4, 9, 0)
    assert (task.settings, task.data_dir) == ({"step": 2}, tmp_path)
    updates = list((tmp_path / "combiner").rglob(done.update + "*"))
    assert load_tensors(updates[0])["w"].tolist() == [3, 3, 3]


async def test_functions_validate(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(3, np.float32)})
        functions = {"train": lambda m, t: Update(m, 1), "validate": lambda m, t: Validation({"sum": m["w"].sum()}, 11)}
        async with attached(laid, tmp_path, **functions) as client:
            done = await outcome(laid, client, kind="VALIDATE")
    assert (done.status, done.num_examples, dict(done.metrics)) == ("accepted", 11, {"sum": 3.0})


def fails(model: Model, task: Task) -> Update:
    raise KeyError("no such column")


def misleads(model: Model, task: Task) -> Update:
    raise RoundClosed("says the function")


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        (misleads, "entry_point_failed", "train: RoundClosed: says the function"),
        (fails, "entry_point_failed", "train: KeyError: 'no such column'"),
        (lambda m, t: m, "output_invalid", "the function for 'train' returned dict, not fedn.client.Update"),
        (lambda m, t: Update(m, 0), "bad_num_examples", "num_examples is 0"),
        (lambda m, t: Update({"w": m["w"][:1]}, 1), "schema_mismatch", "tensor 'w' has shape [1] instead of [3]"),
    ],
)
async def test_what_a_function_does_wrong_is_told_with_its_code(
    tmp_path: Path, function: Any, code: str, reason: str
) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(3, np.float32)})
        async with attached(laid, tmp_path, train=function) as client:
            done = await outcome(laid, client)
    assert (done.status, done.code) == ("failed", code)
    assert reason in done.reason
    assert ("in fails" in done.stderr_tail) == (function is fails)


async def test_a_function_past_its_time_is_told_and_keeps_its_turn(tmp_path: Path) -> None:
    go, calls = threading.Event(), []

    def train(model: Model, task: Task) -> Update:
        calls.append(task.round)
        assert go.wait(60)
        return Update(model, 1)

    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(3, np.float32)})
        async with attached(laid, tmp_path, train=train) as client:
            await laid.start(client, timeout_s=1)
            assert (await laid.outcome()).clients[0].status != "accepted"
            await laid.start(client, round_id="r2", timeout_s=30)
            assert calls == [1], "the second waits for the first"
            go.set()
            assert (await laid.outcome("r2")).clients[0].status == "accepted"


async def test_what_there_is_no_function_for_is_named(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(3, np.float32)})
        async with attached(laid, tmp_path, train=lambda m, t: Update(m, 1)) as client:
            done = await outcome(laid, client, kind="VALIDATE")
    assert done.code == "entry_point_missing"


def test_a_client_wants_one_function_to_train() -> None:
    client = Client(name="own")
    with pytest.raises(ConfigInvalid, match="no function to train"):
        client.run()
    client.train(fails)
    with pytest.raises(ConfigInvalid, match="two functions for 'train'"):
        client.train(fails)
    with pytest.raises(ConfigInvalid, match="unknown setting 'nam'; did you mean 'name'"):
        Client(nam="x")


def test_a_client_loads_no_server(tmp_path: Path) -> None:
    """A client installs without Flask, pymongo or minio, and its own process loads no framework."""
    script = (
        "import sys, fedn.client, fedn.client.pool; fedn.client.Client\n"
        "barred = ('flask', 'gunicorn', 'pymongo', 'minio', 'torch', 'tensorflow', 'keras', 'sklearn', 'fedn.reducer',"
        " 'fedn.combiner')\n"
        "print([name for name in sys.modules if name.startswith(barred)])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
