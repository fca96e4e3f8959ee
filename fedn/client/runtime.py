"""Isolation `process`: an entry point runs in a fresh process group, with two pipes that are always read, and an end.

::

    start ─▶ leader ends ─▶ the rest of its group is killed ─▶ pipes are read out, for a moment ─▶ judged
               │ time is up          ▲                              killed by a signal: once more, in the time left
               ▼                     │
             SIGTERM ─ 2 s ─▶ SIGKILL to the group          cancelled: SIGKILL to the group
"""

from __future__ import annotations

import asyncio

from fedn.client import group
from fedn.client.pipes import DRAIN_S, pipe
from fedn.client.verdict import Ended, Finished, Run, judged


async def run_in_process(run: Run, *, time_limit_s: float) -> Finished:
    """Run an entry point in a process of its own; one that a signal killed is run once more, in the time left.

    Raises CommandMissing, EntryPointFailed, EntryPointKilled and TaskTimeout, each with the last 64 KiB of the
    script's stderr in ``detail["stderr_tail"]``. Nothing of the script is left when this returns.
    """
    return await judged(lambda limit_s: _attempt(run, limit_s), run=run, time_limit_s=time_limit_s)


async def _attempt(run: Run, limit_s: float) -> Ended:
    async with pipe(run.log) as (out, to_out), pipe(run.log) as (err, to_err):
        process = await group.start(run.words, cwd=run.cwd, environ=run.environ, out=to_out, err=to_err)
        to_out.close()
        to_err.close()
        async with group.end_of_group(process):
            in_time = await group.ends_within(process, limit_s)
            if not in_time:
                await group.stop(process)
        await asyncio.wait([out.ended, err.ended], timeout=DRAIN_S)
        return Ended(process.returncode if in_time else None, out.text(), err.text())
