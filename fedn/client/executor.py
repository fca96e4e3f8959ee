"""What runs a client's tasks: a compute package's entry points, or (`fedn.client.functions`) Python functions.

One executor serves all clients of a process, and no more than `workers` tasks run in it at a time::

    prepare: package ─▶ unpacked ─▶ environment ─▶ startup, once      run: a turn ─▶ process │ worker │ inline
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fedn.client.cache import Cache
from fedn.client.environment import Environments, Python
from fedn.client.inline import Inline
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Log, Run
from fedn.client.workers import Workers
from fedn.config import ClientSettings
from fedn.errors import EntryPointMissing, PackageTooLarge, TaskTimeout
from fedn.package.archive import unpack
from fedn.package.entry_point import EntryPoint
from fedn.package.project import Manifest
from fedn.wire.v1 import combiner_pb2 as pb

Fetch = Callable[[str, int, Path], Awaitable[None]]  # digest, size in bytes, where to


@dataclass(frozen=True)
class Job:
    """One run of an entry point: ``<command> <model> <out>``; `deadline` is on the monotonic clock."""

    entry_point: str
    package: str
    model: Path
    out: Path
    environ: Mapping[str, str]
    deadline: float
    log: Log | None = None

    def seconds_left(self) -> float:
        """Until the deadline; never negative."""
        return max(0.0, self.deadline - time.monotonic())


class Executor(Protocol):
    """Runs entry points, for any number of clients."""

    async def prepare(self, command: pb.RunTask, entry_point: str, fetch: Fetch) -> None:
        """Get everything but the model. Raises EntryPointMissing, and what is wrong with the package."""

    async def run(self, job: Job) -> None:
        """Run the entry point to its end. Raises TaskFailed."""

    async def stop(self) -> None:
        """Nobody is running a job any more: end what is kept warm."""


class Turns:
    """At most so many tasks at a time; who waits, waits no longer than its time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._turns = asyncio.Semaphore(workers)

    async def take(self, deadline: float) -> Callable[[], None]:
        """Wait for a turn; returns what gives it back. Raises TaskTimeout."""
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await self._turns.acquire()
        except TimeoutError:
            raise TaskTimeout(f"its time was up before one of {self.workers} workers was free") from None
        return self._turns.release


@dataclass
class Package:
    """A compute package that is unpacked here, and what became of it."""

    manifest: Manifest
    python: Python = field(default_factory=Python)
    started_up: bool = False
    starting_up: asyncio.Lock = field(default_factory=asyncio.Lock)


class PackageExecutor:
    """Runs the entry points of compute packages, isolated as each asks for."""

    def __init__(self, settings: ClientSettings, cache: Cache) -> None:
        self._settings = settings
        self._cache = cache
        self._turns = Turns(settings.workers)
        self._workers = Workers(settings.workers)
        self._inline = Inline()
        self._environments = Environments(settings.env_dir, time_limit_s=settings.env_timeout_s, enabled=settings.env)
        self._ready: dict[str, Package] = {}

    async def prepare(self, command: pb.RunTask, entry_point: str, fetch: Fetch) -> None:
        """See `Executor.prepare`; a package is fetched and checked once in each life of the process."""
        async with self._cache.one_at_a_time(command.package):
            package = await self._package(command, fetch)
            if entry_point not in package.manifest.entry_points:
                raise EntryPointMissing(f"fedn.yaml of the compute package has no entry point {entry_point!r}")
            folder = self._cache.package(command.package)
            package.python = await self._environments.python(command.package, folder, package.manifest)

    async def run(self, job: Job) -> None:
        """See `Executor.run`; before the first task of a package, its `startup` is run once in each life."""
        package = self._ready[job.package]
        entry = package.manifest.entry_points[job.entry_point]
        turn = await self._turns.take(job.deadline)
        try:
            await self._start_up(package, job)
            await self._isolated(self._run(entry, (str(job.model), str(job.out)), job), entry, job.seconds_left())
        finally:
            turn()

    async def start_up(self, job: Job) -> None:
        """Run the package's `startup` by itself, which `run` else does at the first task. Raises TaskFailed."""
        turn = await self._turns.take(job.deadline)
        try:
            await self._start_up(self._ready[job.package], job)
        finally:
            turn()

    async def stop(self) -> None:
        """See `Executor.stop`."""
        await self._workers.stop()
        await self._environments.stop()

    def _run(self, entry: EntryPoint, arguments: tuple[str, ...], job: Job) -> Run:
        python = self._ready[job.package].python
        return Run(
            command=entry.command,
            arguments=arguments,
            cwd=self._cache.package(job.package),
            environ=python.environ(job.environ),
            python=python.executable,
            log=job.log,
        )

    async def _start_up(self, package: Package, job: Job) -> None:
        entry = package.manifest.entry_points.get("startup")
        async with package.starting_up:
            if entry is not None and not package.started_up:
                await self._isolated(self._run(entry, (), job), entry, job.seconds_left())
            package.started_up = True

    async def _isolated(self, run: Run, entry: EntryPoint, limit_s: float) -> None:
        match entry.isolation:
            case "process":
                await run_in_process(run, time_limit_s=limit_s)
            case "worker":
                await self._workers.run(run, entry, time_limit_s=limit_s)
            case "inline":
                await self._inline.run(run, time_limit_s=limit_s)

    async def _package(self, command: pb.RunTask, fetch: Fetch) -> Package:
        digest = command.package
        folder, archive = self._cache.package(digest), self._cache.archive(digest)
        if digest not in self._ready or not folder.is_dir() or not archive.is_file():  # it may have been swept
            if command.package_size > self._settings.max_package_bytes:
                limit = self._settings.max_package_bytes
                raise PackageTooLarge(f"the package has {command.package_size} bytes; this client's limit is {limit}")
            await fetch(digest, command.package_size, archive)
            # once in each process, also where a folder is there: a power failure may have cut it short
            self._ready[digest] = Package(await asyncio.to_thread(unpack, archive, digest, folder))
        os.utime(archive)
        os.utime(folder)
        return self._ready[digest]
