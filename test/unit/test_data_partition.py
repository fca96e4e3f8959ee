"""Partitioners: whatever is dealt out, every example is in exactly one part, and no part is empty."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedn.data.partition
from fedn.data import by_key, dirichlet, iid, label_shards
from fedn.data.partition import Positions
from fedn.errors import PartitionImpossible

Partition = Callable[..., list[Positions]]

LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=200)
SEEDS = st.integers(0, 2**32)
ALPHAS = st.floats(1e-3, 1e3)
TEN_EACH = np.repeat(np.arange(10), 100)


def check(parts: list[Positions], n: int) -> None:
    assert all(part.dtype == np.int64 and len(part) > 0 for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)  # ascending
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))


@given(n=st.integers(1, 300), data=st.data(), seed=SEEDS)
def test_iid_parts_are_disjoint_complete_and_even(n: int, data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(1, n))
    parts = iid(n, count, seed=seed)
    check(parts, n)
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(labels=LABELS, data=st.data(), seed=SEEDS)
def test_shards_are_disjoint_complete_and_even(labels: list[int], data: st.DataObject, seed: int) -> None:
    per_part = data.draw(st.integers(1, min(4, len(labels))))
    count = data.draw(st.integers(1, len(labels) // per_part))
    parts = label_shards(labels, count, shards_per_part=per_part, seed=seed)
    check(parts, len(labels))
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= per_part


@settings(deadline=None)
@given(labels=LABELS, data=st.data(), seed=SEEDS, alpha=ALPHAS)
def test_dirichlet_parts_are_disjoint_complete_and_large_enough(
    labels: list[int], data: st.DataObject, seed: int, alpha: float
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    min_size = data.draw(st.integers(1, len(labels) // count))
    parts = dirichlet(labels, count, alpha=alpha, seed=seed, min_size=min_size)
    check(parts, len(labels))
    assert len(parts) == count
    assert min(map(len, parts)) >= min_size


@given(keys=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=100), data=st.data(), seed=SEEDS)
def test_by_key_keeps_a_key_together(keys: list[str], data: st.DataObject, seed: int) -> None:
    count = data.draw(st.none() | st.integers(1, len(set(keys))))
    parts = by_key(keys, count, seed=seed)
    check(parts, len(keys))
    assert len(parts) == (len(set(keys)) if count is None else count)
    of_parts = [{keys[position] for position in part} for part in parts]
    assert sum(map(len, of_parts)) == len(set(keys))
    if count is not None:
        assert max(map(len, parts)) - min(map(len, parts)) <= max(map(keys.count, keys))


@pytest.mark.parametrize(
    ("deal", "expected"),
    [
        (partial(iid, 10, 3), [[3, 4, 6, 9], [0, 2, 8], [1, 5, 7]]),
        (partial(label_shards, [0, 1, 2, 3] * 3, 3), [[2, 3, 6, 10], [0, 4, 5, 9], [1, 7, 8, 11]]),
        (partial(dirichlet, [0, 1] * 6, 3, alpha=0.5), [[0, 3, 4, 6, 10], [2], [1, 5, 7, 8, 9, 11]]),
        (partial(by_key, list("abcabcaab"), 2), [[0, 3, 6, 7], [1, 2, 4, 5, 8]]),
    ],
)
def test_the_same_seed_gives_these_parts_on_every_machine(deal: Partition, expected: list[list[int]]) -> None:
    assert [part.tolist() for part in deal(seed=7)] == expected


@pytest.mark.parametrize(
    "deal",
    [
        partial(iid, 1000, 10),
        partial(label_shards, TEN_EACH, 10),
        partial(dirichlet, TEN_EACH, 10, alpha=1.0),
        partial(by_key, TEN_EACH, 5),
    ],
)
def test_another_seed_gives_other_parts(deal: Partition) -> None:
    one, again, other = ([part.tolist() for part in deal(seed=seed)] for seed in (1, 1, 2))
    assert one == again != other


def test_shards_give_a_part_few_labels_and_iid_gives_it_all() -> None:
    shuffled = np.random.default_rng(0).permutation(TEN_EACH)
    assert all(len(set(shuffled[part].tolist())) <= 2 for part in label_shards(shuffled, 10, seed=3))
    assert all(len(set(shuffled[part].tolist())) == 1 for part in label_shards(shuffled, 10, shards_per_part=1, seed=3))
    assert all(len(set(shuffled[part].tolist())) == 10 for part in iid(1000, 10, seed=3))


def test_alpha_says_how_skewed_the_labels_are() -> None:
    def skew(alpha: float) -> float:
        """The mean share of a part's most frequent label: 0.1 is none."""
        parts = dirichlet(TEN_EACH, 10, alpha=alpha, seed=5)
        return float(np.mean([np.bincount(TEN_EACH[part]).max() / len(part) for part in parts]))

    assert skew(1e-3) > 0.75 > skew(1.0) > 0.2 > 0.15 > skew(1e4) >= 0.1


def test_dirichlet_of_the_smallest_alpha_still_fills_every_part() -> None:
    parts = dirichlet([0] * 500 + [1] * 500, 100, alpha=1e-6, seed=0, min_size=10)
    assert [len(part) for part in parts] == [10] * 100


def test_without_a_number_of_parts_each_key_is_a_part_in_sorted_order() -> None:
    assert [part.tolist() for part in by_key(["bo", "ann", "bo"])] == [[1], [0, 2]]


@pytest.mark.parametrize(
    ("deal", "reason"),
    [
        (partial(iid, 3, 4), "3 examples cannot be dealt out to 4 parts without an empty one"),
        (partial(iid, 3, 0), "0 parts were asked for; there must be at least 1"),
        (partial(label_shards, [1, 2, 3], 2), "3 examples cannot be dealt out to 4 shards without an empty one"),
        (partial(label_shards, [1, 2], 1, shards_per_part=0), "shards_per_part is 0; a part has at least 1 shard"),
        (partial(by_key, ["a", "a"], 2), "1 keys cannot be dealt out to 2 parts without an empty one"),
        (partial(by_key, []), "0 examples cannot be dealt out to 1 parts"),
        (partial(by_key, [["a"], ["b"]]), "keys has the shape [2, 1]; there is one per example, so [n]"),
        (partial(dirichlet, [1, 2], 3, alpha=1.0), "2 examples cannot be dealt out to 3 parts without an empty one"),
        (partial(dirichlet, [1, 2], 2, alpha=0.0), "alpha is 0.0; a Dirichlet distribution wants a number above 0"),
        (partial(dirichlet, [1, 2], 2, alpha=math.inf), "alpha is inf"),
        (partial(dirichlet, [1, 2], 2, alpha=1.0, min_size=0), "min_size is 0; no part may be empty"),
        (
            partial(dirichlet, [1] * 9, 2, alpha=1.0, min_size=5),
            "9 examples are too few for 2 parts of at least 5: it takes 10",
        ),
    ],
)
def test_what_cannot_be_dealt_out_is_refused_and_says_why(deal: Partition, reason: str) -> None:
    with pytest.raises(PartitionImpossible) as refused:
        deal()
    assert refused.value.reason.startswith(reason)


def test_the_examples_of_the_documentation_hold() -> None:
    outcome = doctest.testmod(fedn.data.partition)
    assert outcome.attempted == 3
    assert outcome.failed == 0
