"""The worker's event loop: links to the combiners, the lease, and the driver while this worker leads.

A thread of its own, started after gunicorn's fork. Request threads reach the loop through `ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fedn.config import ReducerSettings
from fedn.errors import FednError, StaleTerm, Unavailable
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.desk import Desk
from fedn.reducer.driver import Driver
from fedn.reducer.lease import Lease
from fedn.reducer.network import Network
from fedn.security.tokens import admins_token
from fedn.wire.settings import TransferSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
ASK_DEADLINE_S = 10.0


def linking(settings: ReducerSettings) -> Callable[[str], CombinerLink]:
    """How this reducer dials a combiner."""
    transfer = TransferSettings(min_rate_bytes_s=settings.min_rate_bytes_s)
    return functools.partial(
        CombinerLink, token=admins_token(settings), keepalive_s=settings.keepalive_s, transfer=transfer
    )


class Engine:
    """Runs from `start` to `stop`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._holder = uuid.uuid4().hex
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._woken: asyncio.Event | None = None
        self.network = Network(desk.state, link=linking(desk.settings))

    def start(self) -> None:
        """Begin; returns when the loop runs."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Give the lease up and end the thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def wake(self) -> None:
        """There is a new session: look now."""
        if self._loop is not None and self._woken is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    def ask(self, question: Callable[[Network], Awaitable[T]]) -> T:
        """Put a question to the network from another thread. Raises Unavailable when the answer takes too long."""
        if self._loop is None:
            raise Unavailable("the reducer is starting")

        async def put() -> T:
            return await question(self.network)

        future = asyncio.run_coroutine_threadsafe(put(), self._loop)
        try:
            return future.result(ASK_DEADLINE_S)
        except TimeoutError:
            future.cancel()
            raise Unavailable("the combiners took too long to answer") from None

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop, self._woken = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._ready.set()
        leading = asyncio.create_task(self._campaign(self._woken))
        await self._stop.wait()
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        await self.network.close()

    async def _campaign(self, woken: asyncio.Event) -> None:
        """Take the lease whenever it can be had, and lead while it holds."""
        ttl_s = self._desk.settings.lease_s
        lease = Lease(self._desk.state, holder=self._holder, ttl_s=ttl_s, clock=time.monotonic)
        try:
            while True:
                try:
                    term = await self._desk.stores.do_at_last(lease.try_take)
                    if term is not None:
                        log.info("this worker leads, term %d", term)
                        await self._lead(lease, term, woken)
                except StaleTerm as error:
                    log.warning("this worker leads no more: %s", error)
                except FednError as error:
                    log.warning("the lease: %s", error)
                except Exception:  # the outermost loop of the worker's thread goes on
                    log.exception("the driver stopped")
                await asyncio.sleep(ttl_s / 4)
        finally:
            with contextlib.suppress(Unavailable):
                lease.release()

    async def _lead(self, lease: Lease, term: int, woken: asyncio.Event) -> None:
        driver = Driver(self._desk, self.network, term=term, fresh=lease.holds)
        tasks = {asyncio.create_task(driver.lead(woken)), asyncio.create_task(self._keep(lease))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, lease: Lease) -> None:
        """Renew the lease until another has it. Raises StaleTerm.

        While the state store is away nobody can take it, and it is known afterwards whether somebody has.
        """
        while True:
            await asyncio.sleep(self._desk.settings.lease_s / 4)
            if not await self._desk.stores.do_at_last(lease.renew):
                raise StaleTerm("the lease was taken by another worker")
