"""One sync for many answers: those that come while a batch is written are the next batch."""

from __future__ import annotations

import asyncio

from fedn.combiner.journal import Journal
from fedn.combiner.round import Answer
from fedn.errors import AlreadyExists

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
                await self._write(batch)
        finally:
            self._writing = None

    async def _write(self, batch: Waiting) -> None:
        """Commit the batch; each alone where one is in the journal already, for the others are not to be refused."""
        answers = [(round_id, answer) for round_id, answer, _ in batch]
        writing = asyncio.get_running_loop().run_in_executor(None, self._journal.accept, answers)
        await asyncio.wait([writing])
        error = writing.exception()
        if isinstance(error, AlreadyExists) and len(batch) > 1:
            for one in batch:
                await self._write([one])
            return
        for _, _, committed in batch:
            if error is None:
                committed.set_result(None)
            else:
                committed.set_exception(error)
