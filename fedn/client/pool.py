"""The client's process: one client, or many that share it (`--replicas`), with at most `--workers` tasks at a time.

::

    <dir>/lock models/ packages/           the process's: what came from the network, once for all
    <dir>/id tasks/                        the client's, when there is one
    <dir>/1/{id,tasks/} <dir>/2/ …         each replica's own: identity, name, stream, part of the data
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fedn.client.agent import Agent
from fedn.client.attendance import Attendance
from fedn.client.cache import Cache
from fedn.client.executor import Executor, PackageExecutor
from fedn.client.leftovers import end_leftovers
from fedn.client.link import Link
from fedn.client.tasks import Tasks
from fedn.client.workspace import Workspace
from fedn.config import ClientSettings
from fedn.security.tokens import own_token
from fedn.storage import folder
from fedn.storage.readiness import Readiness
from fedn.wire.rest import async_client

AT_ONCE = 32  # clients of a process that ask for a seat and dial at the same time
MakeExecutor = Callable[[ClientSettings, Cache], Executor]


async def serve(settings: ClientSettings, make_executor: MakeExecutor = PackageExecutor) -> None:
    """Run the clients of this process until SIGTERM or SIGINT. Raises what waiting does not cure, of any of them."""
    serving = asyncio.current_task()
    assert serving is not None
    loop = asyncio.get_running_loop()
    signs = (signal.SIGTERM, signal.SIGINT)
    for sign in signs:
        loop.add_signal_handler(sign, serving.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work(settings, make_executor)
    finally:
        for sign in signs:
            loop.remove_signal_handler(sign)


async def work(settings: ClientSettings, make_executor: MakeExecutor = PackageExecutor) -> None:
    """Run the clients of this process until this is cancelled. Raises what waiting does not cure, of any of them."""
    settings = settled(settings)
    root, lock = workplace(settings)
    homes = {k: folder.prepare(home) for k, home in places(settings, root).items()}
    for home in homes.values():
        end_leftovers(home)
    readiness = Readiness(settings.ready_file)
    attendance, cache = Attendance(readiness), Cache(root)
    executor, turns = make_executor(settings, cache), asyncio.Semaphore(AT_ONCE)
    clients = [
        client(named(settings, k), home, cache=cache, executor=executor, attendance=attendance, turns=turns)
        for k, home in homes.items()
    ]
    renewing = asyncio.create_task(readiness.keep())
    try:
        async with async_client(settings.reducer, token=own_token(settings)) as http:
            await all_of([asyncio.create_task(agent.run(http)) for agent, _ in clients])
    finally:
        renewing.cancel()
        readiness.not_ready("it is stopping")
        await asyncio.gather(*(tasks.stop() for _, tasks in clients))
        await executor.stop()
        os.close(lock)


async def all_of(running: list[asyncio.Task[None]]) -> None:
    """Wait for the first that fails, and end the others: a client that a person must help is not left to a log."""
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def workplace(settings: ClientSettings) -> tuple[Path, int]:
    """The process's folder and the lock on it. Processes of one name_base share a folder, each with a slot in it."""
    name = settings.name or settings.name_base or settings.role
    root = folder.prepare(settings.dir or Path(".fedn") / name)
    return folder.hold_slot(root) if settings.name_base else (root, folder.hold(root))


def settled(settings: ClientSettings) -> ClientSettings:
    """The settings with paths that hold wherever the process stands: a script that runs inline moves it."""
    paths = {name: getattr(settings, name) for name in ("data_dir", "training", "env_dir", "ready_file")}
    return replace(settings, **{name: path and path.expanduser().absolute() for name, path in paths.items()})


def places(settings: ClientSettings, root: Path) -> dict[int, Path]:
    """Each replica's folder, by its number from 1."""
    if settings.replicas == 1:
        return {1: root}
    return {k: root / str(k) for k in range(1, settings.replicas + 1)}


def named(settings: ClientSettings, k: int) -> ClientSettings:
    """The settings of replica `k`: its name is the process's and its number."""
    if settings.replicas == 1 or settings.name is None:
        return settings
    return replace(settings, name=f"{settings.name}-{k}")


def client(
    settings: ClientSettings,
    home: Path,
    *,
    cache: Cache,
    executor: Executor,
    attendance: Attendance,
    turns: asyncio.Semaphore,
) -> tuple[Agent, Tasks]:
    """One client."""
    link, identity = Link(), folder.identity(home)
    tasks = Tasks(settings, Workspace(home), link, identity=identity, cache=cache, executor=executor)
    presence = attendance.member()
    return Agent(settings, tasks=tasks, link=link, identity=identity, presence=presence, turns=turns), tasks
