"""What nobody needs any more gives its room to what comes."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from fedn.combiner.phases import with_room
from fedn.combiner.round import Order, Round
from fedn.config import ReducerSettings
from fedn.reducer.desk import Desk
from fedn.storage.retired import SMALL_BYTES, Retired
from test.unit.combiner_bench import arrive, table

LARGE = SMALL_BYTES + 1


def file_of(path: Path, size: int) -> Path:
    path.write_bytes(b"\0" * size)
    return path


def sizes(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in folder.iterdir())


def test_the_oldest_go_first_and_at_least_as_much_as_comes(tmp_path: Path) -> None:
    retired = Retired(tmp_path / "retired")
    for more in (0, 1, 2, 3):
        retired.take(file_of(tmp_path / "old", LARGE + more))
    assert not (tmp_path / "old").exists()
    retired.free(LARGE)
    assert sizes(tmp_path / "retired") == [LARGE + 1, LARGE + 2, LARGE + 3]
    retired.free(LARGE + 2)
    assert sizes(tmp_path / "retired") == [LARGE + 3]
    retired.free()
    retired.free()
    assert sizes(tmp_path / "retired") == []


def test_a_small_file_is_gone_at_once_and_one_that_is_gone_is_fine(tmp_path: Path) -> None:
    retired = Retired(tmp_path / "retired")
    retired.take(file_of(tmp_path / "small", SMALL_BYTES))
    retired.take(tmp_path / "small")
    assert sizes(tmp_path / "retired") == []
    assert not (tmp_path / "small").exists()


def test_what_cannot_be_moved_is_deleted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A combiner's scratch folder may be on another disk than its blobs."""

    def rename(_: Path, __: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", rename)
    Retired(tmp_path / "retired").take(file_of(tmp_path / "old", LARGE))
    assert not (tmp_path / "old").exists()


def test_what_a_dead_process_left_is_deleted(tmp_path: Path) -> None:
    Retired(tmp_path / "retired").take(file_of(tmp_path / "old", LARGE))
    Retired(tmp_path / "retired")
    assert sizes(tmp_path / "retired") == []


def large(value: float) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {"w": np.full(LARGE // 4, value, np.float32)}


async def test_updates_of_the_last_round_stay_until_those_of_the_next_come(tmp_path: Path) -> None:
    """In a round of another kind none come, and they are gone when it begins."""
    async with table(tmp_path) as laid:
        hands = await arrive(laid, "a", "b")
        retired = tmp_path / "combiner" / "blobs" / "retired"
        await laid.stage(large(0.0))

        async def round_of(number: int) -> list[int]:
            """How many files were left when each update had come."""
            await laid.start("a", "b", round_id=f"r{number}")
            left = []
            for place, hand in enumerate(hands):
                if number > 1:
                    await hand.command()  # the last round has ended
                await hand.task()
                path, digest = laid.write(large(10.0 * number + place))
                await hand.send(path, digest, f"r{number}")
                left.append(len(sizes(retired)))
                update = {"model": digest, "base_model": laid.model, "num_examples": 1}
                assert (await hand.submit(f"r{number}", update=update)).accepted
            outcome = await laid.outcome(f"r{number}")
            assert sizes(retired) == []
            await laid.fetch(outcome.sum, outcome.sum_size)
            return left

        assert await round_of(1) == [0, 0]
        assert await round_of(2) == [2, 1]  # of two updates and their sum
        await laid.start("a", round_id="r3", kind="VALIDATE")
        await hands[0].command()
        await hands[0].task()
        assert sizes(retired) == []


async def test_a_phase_that_finds_the_disk_full_goes_on_in_the_room_of_what_was_retired(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        tools = laid.combiner.rounds._tools
        tools.shelf._retired.take(file_of(tmp_path / "old", LARGE))

        class Writes:
            name = "fold"

            def __init__(self) -> None:
                self.tools = tools

            async def run(self) -> None:
                if sizes(tmp_path / "combiner" / "blobs" / "retired"):
                    raise OSError(errno.ENOSPC, "No space left on device")

        order = Order("r1", "s", 1, "train", 1, "m", 1, "p", 1, {}, 5.0, 0, "{}")
        await with_room(Writes(), Round(order))


def test_a_reducer_s_scratch_files_stay_until_the_next_sums_come(tmp_path: Path) -> None:
    desk = Desk.open(ReducerSettings(dir=tmp_path))
    try:
        for name in ("sum", "model"):
            file_of(desk.scratch / name, LARGE)
        desk.tidy(keep={"model"})
        assert [path.name for path in desk.scratch.iterdir()] == ["model"]
        assert sizes(desk.scratch.with_name("retired")) == [LARGE]
        desk.make_room()
        assert sizes(desk.scratch.with_name("retired")) == []
    finally:
        desk.close()
