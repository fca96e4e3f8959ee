"""Isolation `worker`: one warm process that takes many tasks, so that a task does not pay for its imports.

::

    Worker                                worker_main.py (the package's Python)
      pipes, {words, cwd, environ}  ─────▶  stdout, stderr := pipes; run the script as __main__
      {exit_code}                   ◀─────  pipes closed
      lifeline: closed by our death ─────▶  SIGKILL to its group
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path

from fedn.client import group
from fedn.client.pipes import DRAIN_S, pipe
from fedn.client.verdict import Ended, Run

MAIN = Path(__file__).with_name("worker_main.py")
MIB = 1024 * 1024


class Worker:
    """One process. After a task that it did not survive, or that was stopped, `is_alive` is false."""

    def __init__(self, process: Process, control: socket.socket, lifeline: int) -> None:
        self._process = process
        self._control = control
        self._lifeline = lifeline
        self.tasks = 0

    @classmethod
    async def start(cls, python: str, *, cwd: Path, environ: Mapping[str, str]) -> Worker:
        """Start a worker. Raises CommandMissing when there is no such Python."""
        ours, its = socket.socketpair()
        read_end, write_end = os.pipe()
        try:
            words = [python, str(MAIN), str(its.fileno()), str(read_end)]
            process = await group.start(words, cwd=cwd, environ=environ, keep=(its.fileno(), read_end))
        except BaseException:
            ours.close()
            os.close(write_end)
            raise
        finally:
            its.close()
            os.close(read_end)
        ours.setblocking(False)
        return cls(process, ours, write_end)

    @property
    def is_alive(self) -> bool:
        """Whether it can take a task; looks for itself, since the event loop hears of a death a moment later."""
        return self._process.returncode is None and self._lifeline >= 0 and not group.has_ended(self._process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def memory(self) -> int:
        """Resident memory in bytes, with that of the processes which its tasks have started."""
        return await asyncio.to_thread(group.memory_of, self._process)

    async def attempt(self, run: Run, limit_s: float) -> Ended:
        """Run a script once. The worker is ended when time is up or the caller is cancelled."""
        exit_code: int | None = None
        async with pipe(run.log) as (out, to_out), pipe(run.log) as (err, to_err):
            try:
                exit_code = await self._task_within(limit_s, run, to_out.fileno(), to_err.fileno())
            finally:
                to_out.close()
                to_err.close()
                if exit_code is None:  # past its time, or we are cancelled: also while it is given time to obey
                    await self.end()
            await asyncio.wait([out.ended, err.ended], timeout=DRAIN_S)
            return Ended(exit_code, out.text(), err.text())

    async def end(self) -> None:
        """End it, and whoever it started."""
        if self._lifeline < 0:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        self._control.close()
        async with group.end_of_group(self._process):
            pass

    async def _task_within(self, limit_s: float, run: Run, out: int, err: int) -> int | None:
        try:
            async with asyncio.timeout(max(limit_s, 0)):
                return await self._task(run, out, err)
        except TimeoutError:
            await group.stop(self._process)
            return None

    async def _task(self, run: Run, out: int, err: int) -> int:
        """Its answer; when there is none, what ended the process."""
        loop = asyncio.get_running_loop()
        task = {"words": list(run.command[1:] + run.arguments), "cwd": str(run.cwd), "environ": dict(run.environ)}
        answer = b""
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._control, [b"t"], [out, err])
            await loop.sock_sendall(self._control, json.dumps(task).encode() + b"\n")
            while not answer.endswith(b"\n"):
                part = await loop.sock_recv(self._control, 4096)
                if not part:
                    break
                answer += part
        if not answer.endswith(b"\n"):
            exit_code = await self._process.wait()
            await self.end()
            return exit_code  # as in a process of its own: os._exit(0) ends a script well
        said = json.loads(answer)
        self.tasks += 1
        return int(said["exit_code"])
