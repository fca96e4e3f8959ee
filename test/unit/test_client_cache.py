"""What is kept of models and packages: whole or not at all, and never taken from under a task."""

from __future__ import annotations

import os
from pathlib import Path

from fedn.client.cache import Cache, keep_newest
from fedn.client.pool import settled
from fedn.client.workspace import Workspace
from fedn.config import ClientSettings


def aged(path: Path, age: int, *, folder: bool = False) -> None:
    path.mkdir() if folder else path.touch()
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_package_goes_with_its_archive_or_stays_with_it(tmp_path: Path) -> None:
    for age, name in ((31, "a.tar"), (30, "a"), (21, "b.tar"), (20, "b"), (10, "c.tar")):  # c could not be unpacked
        aged(tmp_path / name, age, folder="." not in name)
    keep_newest(tmp_path, 2)
    assert names(tmp_path) == ["b", "b.tar", "c.tar"]


def test_what_is_on_its_way_belongs_to_its_package(tmp_path: Path) -> None:
    for age, name in ((40, "a"), (5, ".a.x1y2"), (30, "b"), (20, "c"), (10, "c.tar.part")):
        aged(tmp_path / name, age)
    keep_newest(tmp_path, 2)
    assert names(tmp_path) == [".a.x1y2", "a", "c", "c.tar.part"]


def test_what_a_task_uses_is_not_swept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, name in enumerate("abcd"):
        aged(tmp_path / "packages" / name, 100 - age, folder=True)
        aged(tmp_path / "packages" / f"{name}.tar", 101 - age)
    with cache.using("a"), cache.using("a"):
        cache.sweep()
    assert names(tmp_path / "packages") == ["a", "a.tar", "c", "c.tar", "d", "d.tar"]
    cache.sweep()
    assert names(tmp_path / "packages") == ["c", "c.tar", "d", "d.tar"]


def test_a_model_that_begins_to_come_takes_the_place_of_the_oldest_that_nobody_uses(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, name in ((40, "used"), (30, "old"), (20, "last"), (10, "last.wide"), (1, "new.part")):
        aged(tmp_path / "models" / name, age)
    with cache.using("used"), cache.using("new"):
        cache.make_room()
        cache.make_room()
    assert names(tmp_path / "models") == ["last", "last.wide", "new.part", "used"]


def test_the_present_task_is_kept_where_the_clock_went_back_and_it_looks_old(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for task in ("present", "a", "b", "c", "d", "e"):
        workspace.task(task)
    os.utime(workspace.task("present"), (0, 0))
    workspace.sweep("present")
    assert workspace.task("present").name in names(tmp_path / "tasks")
    assert len(names(tmp_path / "tasks")) == 5
    workspace.sweep("another")
    assert len(names(tmp_path / "tasks")) == 4


def test_paths_hold_wherever_the_process_stands(tmp_path: Path) -> None:
    given = settled(ClientSettings(data_dir=Path("data"), training=Path("~/own.json")))
    assert (given.data_dir, given.training, given.env_dir) == (Path.cwd() / "data", Path.home() / "own.json", None)
