"""Deal a data set's examples out to parts: one part per client.

Every partitioner returns one int64 array per part: the positions of its examples, ascending. The parts
are disjoint, hold every example, and none is empty; what cannot be dealt out so raises
`PartitionImpossible`. The same arguments give the same parts on every machine.

>>> [part.tolist() for part in iid(5, 2, seed=0)]
[[1, 2, 3], [0, 4]]
>>> [part.tolist() for part in label_shards(["b", "a", "c", "a"], 2, shards_per_part=1, seed=0)]
[[0, 2], [1, 3]]
>>> [part.tolist() for part in by_key(["ann", "bo", "ann", "cy"])]
[[0, 2], [1], [3]]
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedn.errors import PartitionImpossible

Positions: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[Any] | Sequence[Any]  # [n]; numbers or words, one per example


def iid(n: int, parts: int, *, seed: int = 0) -> list[Positions]:
    """Deal `n` shuffled examples out evenly: sizes differ by one at most (McMahan et al. 2017, section 3)."""
    require_parts(parts, n, "examples")
    return [np.sort(part) for part in np.array_split(shuffled(n, seed), parts)]


def label_shards(labels: Labels, parts: int, *, shards_per_part: int = 2, seed: int = 0) -> list[Positions]:
    """Few labels per part: sort by label, cut into equal shards, deal the shards out at random.

    McMahan et al. 2017, section 3, where 100 parts get 2 shards of 300 MNIST images each. A shard may
    span two labels where a label's count is no multiple of a shard's.
    """
    labels = as_labels(labels, "labels")
    require_parts(parts, len(labels), "examples")
    if shards_per_part < 1:
        raise PartitionImpossible(f"shards_per_part is {shards_per_part}; a part has at least 1 shard")
    count = parts * shards_per_part
    require_parts(count, len(labels), "examples", noun="shards")
    shards = np.array_split(np.argsort(labels, kind="stable").astype(np.int64), count)
    dealt = shuffled(count, seed).reshape(parts, shards_per_part)
    return [np.sort(np.concatenate([shards[shard] for shard in mine])) for mine in dealt]


def by_key(keys: Labels, parts: int | None = None, *, seed: int = 0) -> list[Positions]:
    """All examples of one key (its writer, hospital, speaker …) in one part: the natural split.

    Without `parts`, one part per key, in the order of the sorted keys. With `parts`, the keys are
    shuffled by `seed` and each goes to the part that is smallest so far: sizes differ by at most the
    largest key's count.
    """
    keys = as_labels(keys, "keys")
    groups = positions_by_label(keys)
    if parts is None:
        require_parts(len(groups), len(keys), "examples")
        return groups
    require_parts(parts, len(groups), "keys")
    dealt: list[list[Positions]] = [[] for _ in range(parts)]
    smallest = [(0, part) for part in range(parts)]
    for key in shuffled(len(groups), seed):
        size, part = smallest[0]
        dealt[part].append(groups[key])
        heapq.heapreplace(smallest, (size + len(groups[key]), part))
    return [joined(mine) for mine in dealt]


def shuffled(n: int, seed: int) -> Positions:
    """0 … n-1 in random order: the order of random 64-bit keys.

    `Generator.permutation` may change with NumPy's releases; PCG64's raw output never does.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable").astype(np.int64)


def joined(pieces: Iterable[Positions]) -> Positions:
    """One part of several pieces, ascending."""
    return np.sort(np.concatenate(list(pieces)))


def positions_by_label(labels: npt.NDArray[Any]) -> list[Positions]:
    """The positions of each label, in the order of the sorted labels."""
    _, counts = np.unique(labels, return_counts=True)
    return np.split(np.argsort(labels, kind="stable").astype(np.int64), np.cumsum(counts)[:-1])


def as_labels(labels: Labels, name: str) -> npt.NDArray[Any]:
    """One label per example, [n]."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise PartitionImpossible(f"{name} has the shape {list(array.shape)}; there is one per example, so [n]")
    return array


def require_parts(parts: int, things: int, what: str, *, noun: str = "parts") -> None:
    """There is at least one part, and at least one of `what` for each."""
    if parts < 1:
        raise PartitionImpossible(f"{parts} {noun} were asked for; there must be at least 1")
    if things < parts:
        raise PartitionImpossible(f"{things} {what} cannot be dealt out to {parts} {noun} without an empty one")
