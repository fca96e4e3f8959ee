from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fedn.errors import AlreadyExists, FolderUnusable, Unavailable
from fedn.storage.sqlite import SqliteState
from fedn.storage.state import Collection
from test.contract.state_suite import StateSuite, in_threads

FORKER = """
import os
state.insert("context", {"_id": "before"})
child = os.fork()
if child == 0:
    state.insert("context", {"_id": "child"})
    pids = {pid for pid, _ in state._lines}
    os._exit(0 if len(pids) == 2 else 1)
_, status = os.waitpid(child, 0)
state.insert("context", {"_id": "after"})
found = [d["_id"] for d in state.find("context")]
state.close()
assert (status, found) == (0, ["after", "before", "child"]), (status, found)
"""


class TestSqlite(StateSuite):
    @pytest.fixture
    def opening(self, tmp_path: Path) -> str:
        path = str(tmp_path / "new" / "state.db")
        return (
            "from pathlib import Path\n"
            "from fedn.storage.sqlite import SqliteState\n"
            f"state = SqliteState(Path({path!r}))\n"
        )

    def test_a_forked_child_opens_its_own_connection(self, opening: str) -> None:
        done = subprocess.run([sys.executable, "-c", opening + FORKER], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_file_is_synced_at_every_commit(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s.db")
    connection = state._line().connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    state.close()


def test_finding_by_a_unique_field_uses_its_index(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s.db")
    steps: list[str] = []
    state._line().connection.set_trace_callback(steps.append)
    state.find("trail", where={"seq": 5})
    plan = state._line().connection.execute(f"EXPLAIN QUERY PLAN {steps[0]}").fetchall()
    assert any("USING INDEX trail.seq" in row[3] for row in plan)
    state.close()


def test_threads_that_are_gone_leave_no_pile_of_connections(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s.db")

    def count(_: int) -> None:
        state.count("context")

    for _ in range(20):
        in_threads(2, count)
    assert len(state._lines) <= 10
    state.close()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="cannot be used: Not a directory"):
        SqliteState(tmp_path / "file" / "more" / "state.db")


def test_a_file_that_is_not_a_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else" * 1000)
    with pytest.raises(FolderUnusable, match="is not a SQLite database"):
        SqliteState(tmp_path / "state.db")


def test_a_database_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(FolderUnusable, match="cannot be opened"):
        SqliteState(tmp_path / "state.db")


def test_a_lock_that_lasts_is_unavailable(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s.db", busy_timeout_s=0.05)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"was locked for 0\.05 s"):
        state.insert("context", {"_id": "a"})
    with pytest.raises(Unavailable, match="was locked"):
        SqliteState(tmp_path / "s.db", busy_timeout_s=0.05)
    other.execute("ROLLBACK")
    other.close()
    state.insert("context", {"_id": "a"})
    state.close()


def test_a_collection_that_is_new_is_made_in_an_old_file(tmp_path: Path) -> None:
    SqliteState(tmp_path / "s.db").close()
    state = SqliteState(tmp_path / "s.db", {"fresh": Collection(unique=("n",))})
    state.insert("fresh", {"_id": "a", "n": 1})
    assert state.count("fresh") == 1
    state.close()


def test_closing_waits_for_the_statement_of_another_thread(tmp_path: Path) -> None:
    """Closing a connection under a running statement crashed the process."""
    for _ in range(20):
        state = SqliteState(tmp_path / "s.db")
        begun = threading.Barrier(3)

        def read_on(state: SqliteState = state, begun: threading.Barrier = begun) -> None:
            begun.wait()
            with contextlib.suppress(Unavailable):
                while True:
                    state.find("context")

        readers = [threading.Thread(target=read_on) for _ in range(2)]
        for reader in readers:
            reader.start()
        begun.wait()
        state.close()
        for reader in readers:
            reader.join()
        with pytest.raises(Unavailable):
            state.count("context")


def write(state: SqliteState, *ids: str, then: Callable[[], None] = lambda: None) -> None:
    with state.together():
        for id_ in ids:
            state.insert("rounds", {"_id": id_})
        then()


def test_what_is_written_together_is_committed_together_or_not_at_all(tmp_path: Path) -> None:
    state, other = SqliteState(tmp_path / "state.db"), SqliteState(tmp_path / "state.db")
    seen: list[int] = []
    write(state, "a", "b", then=lambda: seen.append(other.count("rounds")))
    assert (seen, other.count("rounds")) == ([0], 2)
    with pytest.raises(AlreadyExists):
        write(state, "c", "a")
    assert [document["_id"] for document in other.find("rounds")] == ["a", "b"]
    write(other, "c")  # no lock is left


def test_a_store_that_is_closed_in_the_middle_says_so(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    with pytest.raises(Unavailable, match="closed"):
        write(state, "a", then=state.close)
    assert SqliteState(tmp_path / "state.db").count("rounds") == 0
