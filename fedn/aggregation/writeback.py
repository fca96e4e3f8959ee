"""Sends written blocks to the disk while the next ones are computed, so that the sync at the end finds little left."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Self

_EVERY_BYTES = 32 * 2**20


class Writeback:
    """``with Writeback(descriptor) as writeback``: tell it what was written; one thread of its own syncs.

    It makes nothing durable by itself: what is written during a sync is the last sync's matter. Its errors are
    raised, by `wrote` or at the end: the kernel tells each of them once only, and the last sync would not see it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writeback")
        self._lock = Lock()
        self._written = 0
        self._syncing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if self._syncing is not None and kind is None:
            self._syncing.result()

    def wrote(self, size: int) -> None:
        """So many bytes more; from any thread. Raises the OSError of an earlier sync."""
        with self._lock:
            self._written += size
            if self._written < _EVERY_BYTES or (self._syncing is not None and not self._syncing.done()):
                return
            if self._syncing is not None:
                self._syncing.result()
            self._written = 0
            self._syncing = self._thread.submit(os.fdatasync, self._descriptor)
