from __future__ import annotations

import asyncio

import pytest

from fedn.errors import TransferStalled
from fedn.wire.pace import Pace
from fedn.wire.settings import DEFAULTS, TransferSettings

SETTINGS = TransferSettings(chunk_bytes=1000, min_rate_bytes_s=100.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    async def passes(self, seconds: float) -> None:
        self.now += seconds


async def test_silence_is_cut_by_the_clock() -> None:
    pace = Pace(TransferSettings(chunk_bytes=1000, min_rate_bytes_s=20_000))
    with pytest.raises(TransferStalled, match="less than 20000 bytes"):
        await pace.of(asyncio.Event().wait())


async def test_a_transfer_just_above_the_least_rate_is_never_cut() -> None:
    clock = Clock()
    pace = Pace(SETTINGS, clock=clock)
    for _ in range(1000):
        await pace.of(clock.passes(9.9))
        pace.moved(1000)
    assert pace.patience == pytest.approx(10.0, abs=0.2)


async def test_a_trickle_of_tiny_chunks_uses_the_patience_up() -> None:
    clock = Clock()
    pace = Pace(SETTINGS, clock=clock)
    for _ in range(3):
        await pace.of(clock.passes(4.0))
        pace.moved(1)
    assert pace.patience < 0
    with pytest.raises(TransferStalled):
        await pace.of(asyncio.Event().wait())


async def test_a_fast_start_buys_no_longer_silence() -> None:
    clock = Clock()
    pace = Pace(SETTINGS, clock=clock)
    pace.moved(10**9)
    assert pace.patience == 10.0


async def test_time_on_this_ends_own_disk_does_not_count() -> None:
    clock = Clock()
    pace = Pace(SETTINGS, clock=clock)
    await clock.passes(1000.0)
    await pace.of(clock.passes(1.0))
    assert pace.patience == 9.0


def test_silence_is_borne_for_as_long_as_one_chunk_takes() -> None:
    assert Pace(DEFAULTS).patience == DEFAULTS.chunk_bytes / DEFAULTS.min_rate_bytes_s == pytest.approx(30, abs=0.1)


def test_what_is_on_its_way_has_its_time_and_no_more() -> None:
    pace = Pace(SETTINGS, ahead=5000)
    assert pace.patience == 10.0
    pace.moved(2000)
    assert pace.patience == 30.0
    pace.moved(10**9)
    assert pace.patience == 60.0
