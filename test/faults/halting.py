"""Run a role that can be halted: ``python -m test.faults.halting CONTROL ROLE run combiner …``.

Production code has no hooks: a few of its functions are wrapped here, before the role begins. A halted coroutine
leaves its event loop running, a halted function its thread's process.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from test.faults.control import FOLDER, LOOK_S, ROLE, note, own_halt, pass_by, write_whole

LEADER = "leader"  # the file that names the process of the reducer's worker that leads

About = Callable[..., Mapping[str, object]]


@dataclass(frozen=True)
class Point:
    """Where a role may halt: `before` the function, `after` it, or at the second of the items that it yields."""

    name: str
    where: str  # module:qualified name
    side: Literal["before", "after", "second"]
    about: About = lambda *args, **kwargs: {}  # from the function's arguments: what a request may ask for


def of_plan(parts: Any) -> Mapping[str, object]:
    return {"kind": parts.plan.kind, "round": parts.plan.round}


def of_phase(phase: Any) -> Mapping[str, object]:
    return {"kind": phase.round.order.kind, "round": phase.round.order.round}


def of_answer(group: Any, round_id: str, answer: Any) -> Mapping[str, object]:
    _, number, kind, _ = round_id.rsplit(".", 3)
    return {"kind": kind, "round": number, "client": answer.client_id}


def of_result(transfers: Any, result: Any, **how: Any) -> Mapping[str, object]:
    _, number, kind, _ = result.round_id.rsplit(".", 3)
    return {"kind": kind, "round": number}


def of_part(part: Any, data: bytes) -> Mapping[str, object]:
    return {"folder": part._path.parent.name}


def of_commit(trail: Any, commit: Any, **how: Any) -> Mapping[str, object]:
    return {"round": commit.round}


POINTS: Mapping[str, tuple[Point, ...]] = {
    "reducer": (
        Point("dispatch", "fedn.reducer.parts:Parts.run", "before", of_plan),
        Point("giving", "fedn.wire.transfer:outgoing", "second"),
        Point("taking", "fedn.wire.transfer:PartWriter.add", "after", of_part),
        Point("folding", "fedn.aggregation.mean:write_exactly", "after"),
        Point("before-record", "fedn.reducer.trail:Trail.append", "before", of_commit),
        Point("after-record", "fedn.reducer.trail:Trail.append", "after", of_commit),
    ),
    "combiner": (
        Point("dispatch", "fedn.combiner.phases.collect:Collect.run", "before", of_phase),
        Point("accepted", "fedn.combiner.group_commit:GroupCommit.accept", "after", of_answer),
        Point("folding", "fedn.aggregation.sum_writer:SumWriter.put", "after"),
    ),
    "client": (
        Point("download", "fedn.wire.transfer:PartWriter.add", "after", of_part),
        Point("upload", "fedn.wire.transfer:outgoing", "second"),
        Point("submit", "fedn.client.transfers:Transfers.submit", "before", of_result),
    ),
}


async def pass_by_async(point: str, about: Mapping[str, object]) -> None:
    """Halt this coroutine if the test asks for it."""
    halt = own_halt(point)
    if halt.claim(about):
        while not halt.may_go():  # noqa: ASYNC110 - it waits for another process
            await asyncio.sleep(LOOK_S)


def wrapped(function: Callable[..., Any], point: Point) -> Callable[..., Any]:
    """The function with the point."""
    if point.side == "second":
        return wrapped_generator(function, point)
    before = point.side == "before"
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            if before:
                await pass_by_async(point.name, point.about(*args, **kwargs))
            result = await function(*args, **kwargs)
            if not before:
                await pass_by_async(point.name, point.about(*args, **kwargs))
            return result

        return coroutine

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        if before:
            pass_by(point.name, **point.about(*args, **kwargs))
        result = function(*args, **kwargs)
        if not before:
            pass_by(point.name, **point.about(*args, **kwargs))
        return result

    return plain


def wrapped_generator(function: Callable[..., Any], point: Point) -> Callable[..., Any]:
    @functools.wraps(function)
    async def generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = function(*args, **kwargs)
        try:
            number = 0
            async for item in items:
                number += 1
                if number == 2:
                    await pass_by_async(point.name, point.about(*args, **kwargs))
                yield item
        finally:
            await items.aclose()

    return generator


def noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`Engine._lead`, which notes who leads."""

    @functools.wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        write_whole(Path(os.environ[FOLDER], LEADER), str(os.getpid()))
        return await function(*args, **kwargs)

    return coroutine


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """`Workspace.save_result`, which notes whose training of which round need not be done again."""

    @functools.wraps(function)
    def plain(workspace: Any, task_id: str, result: Any) -> None:
        function(workspace, task_id, result)
        session, number, _, _ = result.round_id.rsplit(".", 3)
        note("kept", session, int(number))

    return plain


def replace(where: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put the changed function in the place of the one that is there."""
    owner, name = found(where)
    setattr(owner, name, change(getattr(owner, name)))


def found(where: str) -> tuple[object, str]:
    """What holds the function, a module or a class, and the function's name there."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def main() -> None:
    """Wrap, then be `fedn`."""
    folder, role, *arguments = sys.argv[1:]
    os.environ.update({FOLDER: folder, ROLE: role})
    kind = arguments[1]
    for point in POINTS[kind]:
        replace(point.where, functools.partial(wrapped, point=point))
    if kind == "reducer":
        replace("fedn.reducer.engine:Engine._lead", noted)
    if kind == "client":
        replace("fedn.client.workspace:Workspace.save_result", kept)
    sys.argv = ["fedn", *arguments]
    from fedn.cli.main import main as fedn

    fedn()


if __name__ == "__main__":
    main()
