"""The reducer's desk: one for each worker process, over one folder."""

from __future__ import annotations

from pathlib import Path

from fedn.config import ReducerSettings
from fedn.reducer.desk import Desk


def test_a_leader_that_was_replaced_does_not_tidy_up_what_the_new_one_works_with(tmp_path: Path) -> None:
    settings = ReducerSettings(dir=tmp_path)
    former, present = Desk.open(settings), Desk.open(settings)
    try:
        part = present.scratch / "on-its-way.part"
        part.touch()
        (former.scratch / "a-model").touch()
        former.tidy(keep=set())
        assert part.exists()
        assert not (former.scratch / "a-model").exists()
    finally:
        former.close()
        present.close()


def test_the_scratch_folder_of_a_worker_that_has_ended_is_the_next_one_s(tmp_path: Path) -> None:
    settings = ReducerSettings(dir=tmp_path)
    former = Desk.open(settings)
    (former.scratch / "a-model").touch()
    former.close()
    present = Desk.open(settings)
    try:
        assert (present.scratch / "a-model").exists()
        assert not present.has("a-model")  # its bytes are not those of its name
    finally:
        present.close()
