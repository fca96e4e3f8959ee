"""Answers that come together are committed together, and one that cannot be does not hold up the others (I1)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from fedn.combiner.group_commit import GroupCommit
from fedn.combiner.journal import Journal
from fedn.combiner.round import Answer
from fedn.errors import AlreadyExists, Unavailable
from fedn.storage.sqlite import SqliteState


class Watched(Journal):
    """A journal whose first batch waits for `go`; it notes the size of each."""

    def __init__(self, path: Path) -> None:
        super().__init__(SqliteState(path))
        self.sizes: list[int] = []
        self.reached, self.go = threading.Event(), threading.Event()

    def accept(self, answers: Sequence[tuple[str, Answer]]) -> None:
        self.sizes.append(len(answers))
        self.reached.set()
        assert self.go.wait(20)
        super().accept(answers)


def answer(client_id: str) -> Answer:
    return Answer(client_id, "accepted", update=client_id * 64, num_examples=1)


async def accepting(group: GroupCommit, journal: Watched, *clients: str) -> list[BaseException | None]:
    """The first is being written when the others come."""
    work = [asyncio.create_task(group.accept("r", answer(clients[0])))]
    await asyncio.to_thread(journal.reached.wait, 20)
    work += [asyncio.create_task(group.accept("r", answer(client))) for client in clients[1:]]
    await asyncio.sleep(0)
    journal.go.set()
    return await asyncio.gather(*work, return_exceptions=True)


async def test_what_comes_while_a_batch_is_written_is_the_next_batch(tmp_path: Path) -> None:
    journal = Watched(tmp_path / "journal.db")
    assert await accepting(GroupCommit(journal), journal, "a", "b", "c", "d") == [None] * 4
    assert journal.sizes == [1, 3]
    assert sorted(a.client_id for a in journal.answers("r")) == ["a", "b", "c", "d"]


async def test_one_that_is_there_already_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    journal = Watched(tmp_path / "journal.db")
    told = await accepting(GroupCommit(journal), journal, "a", "b", "a", "c")
    assert [type(error) for error in told] == [type(None), type(None), AlreadyExists, type(None)]
    assert sorted(a.client_id for a in journal.answers("r")) == ["a", "b", "c"]


async def test_a_journal_that_cannot_be_written_is_tried_once_for_all(tmp_path: Path) -> None:
    """I8: a locked journal is waited for by each try; a thousand clients would wait one after another."""
    journal = Watched(tmp_path / "journal.db")
    group = GroupCommit(journal)
    journal._state.close()
    told = await accepting(group, journal, "a", "b", "c", "d")
    assert [type(error) for error in told] == [Unavailable] * 4
    assert journal.sizes == [1, 3]


async def test_a_mistake_reaches_whoever_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Watched(tmp_path / "journal.db")

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    group = GroupCommit(journal)
    monkeypatch.setattr(journal, "accept", broken)
    told = await asyncio.gather(*(group.accept("r", answer(c)) for c in "abc"), return_exceptions=True)
    assert [str(error) for error in told] == ["a mistake"] * 3
    monkeypatch.undo()
    journal.go.set()
    await group.accept("r", answer("a"))
