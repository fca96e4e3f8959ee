"""Who waits how long for a seat: what the reducer says of its herd, and what a client makes of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fedn.client.waits import MOST_S, Waits
from fedn.errors import CombinerUnreachable, NoCombiner, ReducerUnreachable, Unavailable
from fedn.reducer.herd import CLIENTS_PER_S, COUNTED_S, Herd
from fedn.storage.sqlite import SqliteState


class Highest(random.Random):
    """Draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def told(seconds: float) -> NoCombiner:
    return NoCombiner(retry_after_s=seconds)


def test_a_client_waits_up_to_what_it_is_told_however_often() -> None:
    waits = Waits(Highest())
    assert [waits.after(told(5.0)) for _ in range(4)] == [5.0] * 4
    assert waits.after(told(1e9)) == MOST_S
    drawn = [Waits(random.Random(seed)).after(told(5.0)) for seed in range(200)]
    assert min(drawn) < 0.2
    assert max(drawn) > 4.8


def test_while_nobody_answers_it_waits_longer_and_longer() -> None:
    waits = Waits(Highest())
    ceilings = [waits.after(ReducerUnreachable()) for _ in range(8)]
    assert ceilings == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    assert waits.after(told(1.0)) == 1.0
    assert waits.after(CombinerUnreachable()) == pytest.approx(0.2), "the reducer answered: it begins short again"
    waits.welcomed()
    assert waits.after(None) == pytest.approx(0.2)


def test_a_herd_that_loses_its_streams_spreads_at_once() -> None:
    waits = Waits(Highest())
    waits.spread(5.0)
    assert waits.after(None) == 5.0
    drawn = []
    for seed in range(1000):
        one = Waits(random.Random(seed))
        one.spread(5.0)
        drawn.append(one.after(None))
    assert max(sum(s <= drawn_s < s + 1 for drawn_s in drawn) for s in range(5)) < 300


def test_the_reducer_tells_by_the_number_of_its_clients(state: SqliteState) -> None:
    now = 0.0
    herd = Herd(state, clock=lambda: now)
    assert (herd.spread_s(), herd.retry_after_s()) == (0.0, 1.0)
    for k in range(2 * CLIENTS_PER_S):
        state.insert("clients", {"_id": str(k), "part": k, "seat": f"a/{k}", "name": str(k)})
    assert herd.spread_s() == 0.0, "it does not count each time"
    now = COUNTED_S
    assert (herd.spread_s(), herd.retry_after_s()) == (2.0, 2.0)


def test_while_the_store_is_away_it_tells_what_it_knows(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    herd = Herd(state, clock=lambda: now)
    state.insert("clients", {"_id": "a", "part": 0, "seat": "a/0", "name": "a"})
    assert herd.spread_s() > 0

    def away(*_: Any) -> int:
        raise Unavailable("the store is away")

    monkeypatch.setattr(state, "count", away)
    now = 10 * COUNTED_S
    assert herd.spread_s() > 0
