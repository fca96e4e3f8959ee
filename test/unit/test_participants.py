from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fedn.reducer.participants import ConnectedClient, choose, task_seed


def clients(count: int, combiners: int = 1) -> list[ConnectedClient]:
    return [ConnectedClient(f"id-{k}", f"client-{k}", k, f"combiner-{k % combiners}") for k in range(count)]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.integers(1, 100))
def test_choice_depends_on_seed_round_and_parts_only(count: int, requested: int, seed: int, number: int) -> None:
    one = choose(clients(count), requested=requested, seed=seed, round_number=number)
    shuffled = clients(count, combiners=3)
    random.Random(seed).shuffle(shuffled)
    other = choose(shuffled, requested=requested, seed=seed, round_number=number)
    assert [c.part for c in one] == [c.part for c in other]
    assert len(one) == min(requested, count)
    assert len({c.client_id for c in one}) == len(one)


def test_rounds_choose_different_clients() -> None:
    chosen = {tuple(c.part for c in choose(clients(20), requested=5, seed=1, round_number=k)) for k in range(10)}
    assert len(chosen) > 5


def test_all_are_chosen_when_none_are_requested_in_particular() -> None:
    assert choose(clients(4), requested=None, seed=0, round_number=1) == clients(4)


def test_task_seeds_differ_by_session_round_and_part() -> None:
    seeds = {task_seed(seed=s, round_number=r, part=p) for s in range(3) for r in range(11) for p in range(11)}
    assert len(seeds) == 3 * 11 * 11
    assert task_seed(seed=7, round_number=1, part=1) == task_seed(seed=7, round_number=1, part=1)
    # "1/11" and "11/1" must not meet
    assert task_seed(seed=1, round_number=11, part=1) != task_seed(seed=1, round_number=1, part=11)
