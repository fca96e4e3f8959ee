"""Parts with skewed labels, more or less so by one number: alpha of a Dirichlet distribution."""

from __future__ import annotations

import heapq
import math

import numpy as np
import numpy.typing as npt

from fedn.data.partition import Labels, Positions, as_labels, joined, positions_by_label, require_parts, shuffled
from fedn.errors import PartitionImpossible


def dirichlet(labels: Labels, parts: int, *, alpha: float, seed: int = 0, min_size: int = 1) -> list[Positions]:
    """Deal each label's examples out in shares drawn from Dir(alpha): parts differ in labels and in size.

    A small `alpha` (0.1) gives most of a label to few parts; a large one (100) comes near to `iid`.
    Dirichlet skew of labels is Hsu et al. 2019's; the shares are drawn per label over the parts as
    in Yurochkin et al. 2019, so that every example is used once and sizes differ.

    Parts below `min_size` are filled up from the largest, example by example in random order: nothing
    is drawn again until it fits, so it always ends. Raises `PartitionImpossible` when there are not
    min_size examples for each part.
    """
    labels = as_labels(labels, "labels")
    require_parts(parts, len(labels), "examples")
    if not (math.isfinite(alpha) and alpha > 0):
        raise PartitionImpossible(f"alpha is {alpha}; a Dirichlet distribution wants a number above 0")
    if min_size < 1:
        raise PartitionImpossible(f"min_size is {min_size}; no part may be empty, so it is at least 1")
    if parts * min_size > len(labels):
        raise PartitionImpossible(
            f"{len(labels)} examples are too few for {parts} parts of at least {min_size}: it takes {parts * min_size}"
        )
    order = shuffled(len(labels), seed)
    dealt = _dealt([order[group] for group in positions_by_label(labels[order])], parts, alpha, seed)
    return [np.sort(part) for part in _filled(dealt, min_size, order)]


def _dealt(groups: list[Positions], parts: int, alpha: float, seed: int) -> list[Positions]:
    """Each label's positions, in random order, cut into shares; part by part."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))  # another stream than the shuffle's
    pieces = [np.split(group, _cuts(rng.dirichlet(np.full(parts, alpha)), len(group))) for group in groups]
    return [joined(piece[part] for piece in pieces) for part in range(parts)]


def _cuts(shares: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Where to cut `count` examples, so that each share is right to one example."""
    return np.rint(np.cumsum(shares)[:-1] * count).astype(np.int64)


def _filled(dealt: list[Positions], min_size: int, order: Positions) -> list[Positions]:
    """Move examples from the largest part into those below `min_size`."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    stacks = [sorted(part.tolist(), key=rank.__getitem__) for part in dealt]
    largest = [(-len(stack), part) for part, stack in enumerate(stacks)]
    heapq.heapify(largest)
    for stack in stacks:
        while len(stack) < min_size:
            size, giver = largest[0]
            stack.append(stacks[giver].pop())
            heapq.heapreplace(largest, (size + 1, giver))
    return [np.array(stack, np.int64) for stack in stacks]
