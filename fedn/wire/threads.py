"""Blocking work off the event loop, always to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Callable[[], T], *, executor: Executor | None = None) -> T:
    """The result of ``work``, done in a thread of ``executor``.

    A thread cannot be cancelled. Who is cancelled here goes on waiting, and is cancelled after the
    work has ended: no file is left that a thread still writes to while another upload opens it.
    """
    job = asyncio.get_running_loop().run_in_executor(executor, work)
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        job.exception()  # looked at, so that asyncio does not report it as forgotten
        raise cancelled
    return job.result()


async def all_done(*work: Awaitable[Any]) -> None:
    """Wait for all of it, side by side; then the first failure is raised."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
