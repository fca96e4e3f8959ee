from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest

from fedn.errors import BadInput, CombinerUnreachable, DigestMismatch, FednError, TransferFailed
from fedn.wire.backoff import delays
from fedn.wire.transfer import until_done


class Highest(random.Random):
    """Draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_ceilings_double_up_to_the_most() -> None:
    waits = itertools.islice(delays(0.2, 2.0, 1.0, rng=Highest()), 5)
    assert list(waits) == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0])


def test_jitter_spreads_over_the_whole_range_and_repeats_with_its_seed() -> None:
    first = [next(delays(1.0, rng=random.Random(seed))) for seed in range(200)]
    assert min(first) < 0.1
    assert max(first) > 0.9
    assert all(0.0 <= wait <= 1.0 for wait in first)
    assert first == [next(delays(1.0, rng=random.Random(seed))) for seed in range(200)]


class Attempts:
    """Attempts that fail as told, and the waits between them."""

    def __init__(self, *failures: FednError | None, gains: tuple[int, ...] = ()) -> None:
        self.failures = list(failures)
        self.gains = iter(gains)
        self.bytes = 0
        self.slept: list[float] = []

    async def __call__(self) -> None:
        self.bytes += next(self.gains, 0)
        if (failure := self.failures.pop(0)) is not None:
            raise failure

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self, *, give_up: Callable[[], bool] = lambda: False) -> None:
        waits: Callable[[], Iterator[float]] = lambda: iter([1.0, 2.0, 4.0, 8.0])  # noqa: E731
        sleep: Callable[[float], Awaitable[None]] = self.sleep
        await until_done(self, give_up=give_up, progressed=lambda: self.bytes, waits=waits, sleep=sleep)


async def test_what_may_pass_is_tried_again_until_done() -> None:
    attempts = Attempts(CombinerUnreachable(), TransferFailed(), CombinerUnreachable(), None)
    await attempts.run()
    assert attempts.slept == [1.0, 2.0, 4.0]


async def test_progress_begins_the_waits_anew() -> None:
    attempts = Attempts(*[TransferFailed()] * 4, None, gains=(0, 0, 100, 0))
    await attempts.run()
    assert attempts.slept == [1.0, 2.0, 1.0, 2.0]


async def test_a_refusal_is_raised_at_once() -> None:
    attempts = Attempts(BadInput("no"), None)
    with pytest.raises(BadInput):
        await attempts.run()
    assert attempts.slept == []


async def test_giving_up_raises_the_last_error() -> None:
    attempts = Attempts(TransferFailed("first"), TransferFailed("second"), None)
    with pytest.raises(TransferFailed, match="second"):
        await attempts.run(give_up=lambda: len(attempts.failures) == 1)
    assert attempts.slept == [1.0]


async def test_giving_up_while_waiting_makes_no_further_attempt() -> None:
    attempts = Attempts(TransferFailed("first"), None)
    with pytest.raises(TransferFailed, match="first"):
        await attempts.run(give_up=lambda: bool(attempts.slept))
    assert len(attempts.failures) == 1


async def test_wrong_bytes_twice_in_a_row_are_not_asked_for_again() -> None:
    attempts = Attempts(DigestMismatch("once"), TransferFailed(), DigestMismatch("a"), DigestMismatch("b"), None)
    with pytest.raises(DigestMismatch, match="b"):
        await attempts.run()
    assert len(attempts.failures) == 1
