"""A role's folder: held by one process, or slot by slot by many."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedn.errors import Conflict, FolderUnusable
from fedn.storage import folder


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    lock = folder.hold(tmp_path)
    with pytest.raises(Conflict, match="another process works"):
        folder.hold(tmp_path)
    os.close(lock)
    os.close(folder.hold(tmp_path))


def test_the_lowest_free_slot_is_taken_and_keeps_its_identity(tmp_path: Path) -> None:
    held = [folder.hold_slot(tmp_path) for _ in range(3)]
    assert [path.name for path, _ in held] == ["0", "1", "2"]
    identities = [folder.identity(path) for path, _ in held]
    assert len(set(identities)) == 3
    os.close(held[1][1])
    again, lock = folder.hold_slot(tmp_path)
    assert (again.name, folder.identity(again)) == ("1", identities[1])
    for descriptor in (held[0][1], held[2][1], lock):
        os.close(descriptor)


def test_a_file_system_without_locks_is_named_and_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(FolderUnusable, match="No locks available"):
        folder.hold_slot(tmp_path)


def test_containers_with_equal_process_ids_prepare_one_folder_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: folder.prepare(tmp_path / "shared"), range(400))) == {tmp_path / "shared"}
    assert list((tmp_path / "shared").iterdir()) == []


def started_anew(place: Path) -> bool:
    with folder.after_a_boot(place) as anew:
        return anew


def test_a_machine_that_was_started_anew_is_noticed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(folder, "BOOT_ID", boot)
    assert [started_anew(tmp_path) for _ in range(2)] == [True, True]  # the system does not say
    for text in ("one\n", "two\n"):
        boot.write_text(text)
        assert [started_anew(tmp_path) for _ in range(3)] == [True, False, False]


def test_what_was_not_looked_at_to_its_end_is_looked_at_again(tmp_path: Path) -> None:
    """A process that dies while it looks at its blobs must not leave the bad ones to the next."""

    def dies() -> None:
        with folder.after_a_boot(tmp_path):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        dies()
    assert [started_anew(tmp_path) for _ in range(2)] == [True, False]
