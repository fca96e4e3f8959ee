"""Isolation `inline`: a script runs in the client's own process, one at a time.

Nothing is isolated: its memory, its environment variables for the time of the run, its crash. It cannot be stopped
either: past its time it is reported as such, and goes on in its thread. For debugging, and for tasks of milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from io import TextIOBase

from fedn.client.pipes import TAIL_BYTES
from fedn.client.script import run_script
from fedn.client.verdict import Ended, Finished, Log, Run, judged
from fedn.errors import TaskTimeout


class Inline:
    """Runs scripts in threads, one after another: they share the folder, the environment and stdout."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, run: Run, *, time_limit_s: float) -> Finished:
        """As `runtime.run_in_process`, in this process."""
        return await judged(lambda limit_s: self._attempt(run, limit_s), run=run, time_limit_s=time_limit_s)

    async def _attempt(self, run: Run, limit_s: float) -> Ended:
        out, err, began = Heard(run.log), Heard(run.log), False
        try:
            async with asyncio.timeout(max(limit_s, 0)):
                await self._turn.acquire()
                job, began = in_thread(run, out, err), True
                job.add_done_callback(lambda _: self._turn.release())
                return Ended(await asyncio.shield(job), out.text(), err.text())
        except TimeoutError:
            if not began:
                reason = "its time was up before another script that runs inline had ended: one runs at a time"
                raise TaskTimeout(f"`{run.shown}`: {reason}") from None
            return Ended(None, out.text(), err.text())


def in_thread(run: Run, out: Heard, err: Heard) -> asyncio.Future[int]:
    """The script's exit code, from a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()

    def tell(exit_code: int) -> None:
        if not answer.done():
            answer.set_result(exit_code)

    def work() -> None:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exit_code = run_script([*run.command[1:], *run.arguments], cwd=str(run.cwd), environ=run.environ)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, exit_code)

    threading.Thread(target=work, name="inline", daemon=True).start()
    return answer


class Heard(TextIOBase):
    """A text stream that keeps the end of what is written, and tells `log` each line."""

    def __init__(self, log: Log | None) -> None:
        self._log = log
        self._kept = ""
        self._line = ""

    def write(self, text: str) -> int:
        """Take what is said."""
        self._kept = (self._kept + text)[-TAIL_BYTES:]
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._log is not None:
                self._log(line)
        return len(text)

    def text(self) -> str:
        """The tail."""
        return self._kept
