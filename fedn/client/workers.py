"""The warm workers of a client's process: at most so many, each for one package, recycled before they grow."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from fedn.client.verdict import Ended, Finished, Run, judged
from fedn.client.worker import MIB, Worker
from fedn.package.entry_point import EntryPoint

log = logging.getLogger(__name__)

IDLE_S = 600.0  # a worker that nobody needs gives its memory back


@dataclass
class Idle:
    """A worker between two tasks, and when it will be ended for want of a third."""

    worker: Worker
    home: tuple[Path, str]
    ends: asyncio.TimerHandle | None = field(default=None, compare=False)


class Workers:
    """Hands tasks to warm processes; the caller sees to it that no more than `most` run at a time."""

    def __init__(self, most: int, *, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._idle_s = idle_s
        self._idle: list[Idle] = []
        self._busy = 0
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, run: Run, entry: EntryPoint, *, time_limit_s: float) -> Finished:
        """As `runtime.run_in_process`, in a worker of the run's folder and Python."""

        async def attempt(limit_s: float) -> Ended:
            self._busy += 1
            try:
                worker = await self._take(run)
                ended = await worker.attempt(run, limit_s)
                await self._give_back(worker, run, entry)
                return ended
            finally:
                self._busy -= 1

        return await judged(attempt, run=run, time_limit_s=time_limit_s)

    async def stop(self) -> None:
        """End all that are idle; those that are busy end with their tasks."""
        while self._idle:
            await self._take_out(self._idle[-1]).end()
        await asyncio.gather(*self._ending)

    async def _take(self, run: Run) -> Worker:
        home = (run.cwd, run.python)
        for idle in reversed(self._idle):
            if idle.home == home:
                worker = self._take_out(idle)
                if worker.is_alive:
                    return worker
                await worker.end()
        while self._idle and len(self._idle) + self._busy > self._most:
            await self._take_out(self._idle[0]).end()
        worker = await Worker.start(run.python, cwd=run.cwd, environ=run.environ)
        log.info("worker %d is started for %s", worker.pid, run.cwd.name[:12])
        return worker

    async def _give_back(self, worker: Worker, run: Run, entry: EntryPoint) -> None:
        reason = await worn_out(worker, entry)
        if reason is not None:
            log.info("worker %d is recycled: %s", worker.pid, reason)
        if reason is not None or not worker.is_alive:
            await worker.end()
            return
        idle = Idle(worker, (run.cwd, run.python))
        idle.ends = asyncio.get_running_loop().call_later(self._idle_s, self._too_long_idle, idle)
        self._idle.append(idle)

    def _take_out(self, idle: Idle) -> Worker:
        self._idle = [other for other in self._idle if other is not idle]
        if idle.ends is not None:
            idle.ends.cancel()
        return idle.worker

    def _too_long_idle(self, idle: Idle) -> None:
        ending = asyncio.create_task(self._take_out(idle).end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def worn_out(worker: Worker, entry: EntryPoint) -> str | None:
    """Why the worker must not take another task, if so."""
    if worker.tasks >= entry.max_tasks:
        return f"it has done {worker.tasks} tasks (max_tasks)"
    if entry.max_memory_mb is not None and (memory := await worker.memory()) > entry.max_memory_mb * MIB:
        return f"it holds {memory // MIB} MiB (max_memory_mb: {entry.max_memory_mb})"
    return None
