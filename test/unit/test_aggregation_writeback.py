"""Early syncs of a file that is being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedn.aggregation import writeback
from fedn.aggregation.writeback import Writeback


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_EVERY_BYTES", 10)


def test_what_was_written_is_synced_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with (tmp_path / "file").open("wb") as file:
        with Writeback(file.fileno()) as early:
            early.wrote(9)
            assert synced == []
            early.wrote(1)
        assert synced == [file.fileno()]


def test_an_error_of_an_early_sync_is_raised_since_the_last_one_would_not_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OSError, match="Input/output"),
        Writeback(file.fileno()) as early,
    ):
        early.wrote(10)


def test_the_block_s_own_error_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)

    def broken_off() -> None:
        with (tmp_path / "file").open("wb") as file, Writeback(file.fileno()) as early:
            early.wrote(10)
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
