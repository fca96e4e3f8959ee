"""One sync for many answers: those that come while a batch is written are the next batch."""

from __future__ import annotations

import asyncio

from fedn.combiner.journal import Journal
from fedn.combiner.round import Answer

Waiting = list[tuple[str, Answer, "asyncio.Future[None]"]]


class GroupCommit:
    """Writes to the journal, one batch at a time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: Waiting = []
        self._writing: asyncio.Task[None] | None = None

    async def accept(self, round_id: str, answer: Answer) -> None:
        """Return when the answer is committed. Raises what `Journal.accept` raises for it."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((round_id, answer, committed))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await asyncio.shield(committed)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                if not await self._written(batch) and len(batch) > 1:
                    for one in batch:  # an answer that cannot be written is no reason to refuse the others
                        await self._written([one])
        finally:
            self._writing = None

    async def _written(self, batch: Waiting) -> bool:
        try:
            await asyncio.to_thread(self._journal.accept, [(round_id, answer) for round_id, answer, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever happened
            if len(batch) == 1:
                batch[0][2].set_exception(error)
            return False
        for _, _, committed in batch:
            committed.set_result(None)
        return True
