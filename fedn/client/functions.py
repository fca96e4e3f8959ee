"""Entry points that are Python functions of a program of the user's own, over named tensors.

They run in threads of that program, at most `workers` at a time. A function cannot be stopped: past its time it is
reported as such, and keeps its turn until it returns.
"""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat, TypeAlias

import numpy.typing as npt

from fedn.client.blame import OF_HELPERS
from fedn.client.executor import Fetch, Job, Turns
from fedn.errors import EntryPointFailed, EntryPointMissing, OutputInvalid, TaskTimeout
from fedn.model.helpers.numpy import load, save, save_metrics
from fedn.wire.v1 import combiner_pb2 as pb

Tensors: TypeAlias = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """What a function is told besides the model; for a script these are environment variables.

    `seed` is fixed by session, round and part, so that a run can be repeated.
    """

    session: str
    round: int
    part: int
    parts: int | None
    seed: int
    session_seed: int
    settings: Mapping[str, Any]
    data_dir: Path | None


@dataclass(frozen=True)
class Update:
    """What train returns: the tensors, by the names, shapes and dtypes of the model, and what weighs them."""

    model: Tensors
    num_examples: int
    metrics: Mapping[str, SupportsFloat] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """What validate returns: metrics, and on how many examples they were measured."""

    metrics: Mapping[str, SupportsFloat]
    num_examples: int


Function = Callable[[dict[str, npt.NDArray[Any]], Task], object]


class FunctionExecutor:
    """Runs functions by the name of their entry point: train, validate, predict."""

    def __init__(self, functions: Mapping[str, Function], *, workers: int) -> None:
        self._functions = functions
        self._turns = Turns(workers)

    async def prepare(self, command: pb.RunTask, entry_point: str, fetch: Fetch) -> None:  # noqa: ARG002
        """Nothing to fetch: the program is the package. Raises EntryPointMissing."""
        if entry_point not in self._functions:
            raise EntryPointMissing(f"this client's program has no function for {entry_point!r}")

    async def run(self, job: Job) -> None:
        """Load the model, call the function, write what it returns. Raises TaskTimeout, EntryPointFailed."""
        loop = asyncio.get_running_loop()
        turn = await self._turns.take(job.deadline)
        done: asyncio.Future[None] = loop.create_future()

        def end(error: BaseException | None) -> None:
            turn()
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                call(self._functions[job.entry_point], job)
            except OF_HELPERS as known:  # of another error of ours the network would believe that it is its own
                error = known
            except BaseException as unknown:  # noqa: BLE001 - the user's, and told to the network
                error = EntryPointFailed(
                    f"{job.entry_point}: {type(unknown).__name__}: {unknown}", stderr_tail=traceback.format_exc()
                )
            if not loop.is_closed():
                loop.call_soon_threadsafe(end, error)

        threading.Thread(target=work, name=job.entry_point, daemon=True).start()
        try:
            async with asyncio.timeout_at(loop.time() + job.seconds_left()):
                await asyncio.shield(done)
        except TimeoutError:
            raise TaskTimeout(f"the function for {job.entry_point!r} ran past its time, and goes on") from None

    async def stop(self) -> None:
        """Nothing is kept warm."""


def call(function: Function, job: Job) -> None:
    """One call, from file to file."""
    returned = function(load(job.model), task_of(job.environ))
    match job.entry_point, returned:
        case "train", Update():
            save(job.out, returned.model, num_examples=returned.num_examples, metrics=returned.metrics)
        case "validate", Validation():
            save_metrics(job.out, returned.metrics, num_examples=returned.num_examples)
        case "predict", _:
            job.out.write_text(json.dumps(returned))
        case _:
            wanted = {"train": "fedn.client.Update", "validate": "fedn.client.Validation"}[job.entry_point]
            raise OutputInvalid(
                f"the function for {job.entry_point!r} returned {type(returned).__name__}, not {wanted}"
            )


def task_of(environ: Mapping[str, str]) -> Task:
    """What the environment of a script says."""
    parts, data_dir = environ.get("FEDN_PARTS"), environ.get("FEDN_DATA_DIR")
    return Task(
        session=environ["FEDN_SESSION"],
        round=int(environ["FEDN_ROUND"]),
        part=int(environ["FEDN_PART"]),
        parts=int(parts) if parts else None,
        seed=int(environ["FEDN_SEED"]),
        session_seed=int(environ["FEDN_SESSION_SEED"]),
        settings=json.loads(Path(environ["FEDN_CLIENT_SETTINGS"]).read_text()),
        data_dir=Path(data_dir) if data_dir else None,
    )
