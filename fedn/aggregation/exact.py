"""Exact sums of floating-point terms, many elements at a time, with nothing but float64 additions.

**Anchored accumulation.** A level with grid 2^g has an accumulator A that starts at C = 1.5·2^(52+g).
While A is inside (2^(52+g), 2^(53+g)), the floats around it are exactly the multiples of 2^g, so in

    S = A + t        e = S − A        r = t − e

e is the multiple of 2^g nearest to t, and S = A + e without error; e and r are exact since |A| > |t|
(Dekker 1971, "Fast2Sum"), and |r| ≤ 2^(g−1). A becomes S, and r goes on to the next, finer level.

**Bounds.** Let Σ|t| ≤ 2^b over all n ≤ 2^m terms that enter a level, and m ≤ 22. With g = b − 50,

    |A − C| ≤ Σ|e| ≤ Σ(|t| + 2^(g−1)) ≤ 2^(50+g) + 2^(m+g−1) < 2^(51+g)

so A stays inside, and |t| ≤ 2^(50+g) < A. The n rests that enter the next level add up to at most
2^(m+g−1): its b is m + g − 1, at least 29 less than this one's.

**End.** All terms are multiples of 2^grid, so all rests are. As soon as b ≤ grid + 53, every partial sum
is a multiple of 2^grid and at most 2^53 of them, so plain additions are exact. While b > grid + 53,
g > grid + 3: no level is finer than the terms, and with grid ≥ −1074 every anchor is a normal number.
The bounds come from the ranges of the updates alone, so one pass over the data is enough.

The limbs A − C and the plain sum add up to the exact sum. `expand` turns them into the one expansion that
depends on that sum only: its nearest float64, the nearest float64 of what is left, and so on to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Elements: TypeAlias = npt.NDArray[np.int64]

Expansion: TypeAlias = tuple[Floats, Elements, Floats]  # heads; elements of tails, and the tails

MOST_TERMS = 2**22


def grids_of_levels(*, bound: int, grid: int, terms: int) -> tuple[int, ...]:
    """The exponents g of the anchored levels for ``terms`` terms, multiples of 2^grid, Σ|t| ≤ 2^bound.

    The plain level comes after them. For float32 of ordinary size one anchored level is enough.
    """
    if terms > MOST_TERMS:
        raise ValueError(f"{terms} terms, more than the {MOST_TERMS} that the bounds allow")
    grids = []
    while bound > grid + 53:
        grids.append(bound - 50)
        bound = (terms - 1).bit_length() + bound - 50 - 1
    return tuple(grids)


class Accumulator:
    """Exact sums of ``size`` elements at a time; its memory is used again for every block."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: list[Floats] = []
        self._spare, self._other = np.empty(size), np.empty(size)
        self._grids: tuple[int, ...] = ()

    def begin(self, size: int, grids: tuple[int, ...]) -> None:
        """Start sums of ``size`` elements (at most as many as there is memory for) at zero."""
        while len(self._rows) <= len(grids):
            self._rows.append(np.empty(self._size))
        self._used = size
        self._grids = grids
        for row, grid in zip(self._rows, grids, strict=False):
            row[:size] = anchor(grid)
        self._rows[len(grids)][:size] = 0.0

    def add(self, terms: Floats) -> None:
        """Add one term to every sum. ``terms`` is written over."""
        for level in range(len(self._grids)):
            total, moved = self._rows[level][: self._used], self._spare[: self._used]
            np.add(total, terms, out=moved)
            np.subtract(moved, total, out=total)
            np.subtract(terms, total, out=terms)
            self._rows[level], self._spare = self._spare, self._rows[level]
        plain = self._rows[len(self._grids)][: self._used]
        np.add(plain, terms, out=plain)

    def result(self) -> Expansion:
        """The expansion of every sum, as `expand` gives it; the heads may be this accumulator's memory."""
        limbs = [row[: self._used] for row in self._rows[: len(self._grids) + 1]]
        for limb, grid in zip(limbs, self._grids, strict=False):
            np.subtract(limb, anchor(grid), out=limb)
        total, spare, other = limbs[-1], self._spare[: self._used], self._other[: self._used]
        for level in reversed(range(len(self._grids))):
            two_sum_in_place(limbs[level], total, spare, other)
            limbs[level + 1], total, spare = total, spare, limbs[level]
        return finished([total, *limbs[1:]])


def anchor(grid: int) -> float:
    """C, where the accumulator of a level starts."""
    return 1.5 * 2.0 ** (52 + grid)


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded sum of two floats or arrays and its error, exactly (Knuth 1969; Møller 1965)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def two_sum_in_place(a: Floats, b: Floats, total: Floats, spare: Floats) -> None:
    """`two_sum` to ``total`` and, the error, to ``b``; the others are written over.

    New arrays for every block would be fresh pages from the kernel, which cost more than the sums.
    """
    np.add(a, b, out=total)
    np.subtract(total, a, out=spare)
    np.subtract(b, spare, out=b)
    np.subtract(total, spare, out=spare)
    np.subtract(a, spare, out=a)
    np.add(b, a, out=b)


def two_product(a: Floats, b: float) -> tuple[Floats, Floats]:
    """The rounded product and its error, exactly (Dekker 1971; halves by Veltkamp 1968)."""
    product = a * b
    a_high, b_high = _high_half(a), _high_half(b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _high_half(x: Any) -> Any:
    shifted = x * (2.0**27 + 1)
    return shifted - (shifted - x)


def expand(limbs: Sequence[Floats]) -> Expansion:
    """The canonical expansion of Σ limbs: heads; and of the few elements that need more, element and tail.

    The tails are in the order of their elements, and of one element the larger first; none is zero.
    """
    return finished(_sweep(limbs))


def finished(swept: Sequence[Floats], loose: Elements | None = None) -> Expansion:
    """The expansion of swept limbs. Most elements have nothing but a head by now; only the ``loose`` others go on."""
    head = swept[0]
    if len(swept) == 1:
        return head, np.empty(0, np.int64), np.empty(0)
    if loose is None:
        loose = np.flatnonzero(np.logical_or.reduce([limb != 0 for limb in swept[1:]]))
    rest = [limb[loose] for limb in swept]
    parts = []
    while rest:
        rest = _round_ties(_settle(rest))
        parts.append(rest.pop(0))
    head[loose] = parts[0]
    tails = np.array(parts[1:]).T
    present = tails != 0
    return head, np.repeat(loose, present.sum(axis=1)), tails[present]


def _sweep(limbs: Sequence[Floats]) -> list[Floats]:
    """Move every limb as far up as it goes, the last first; the sum stays."""
    total = limbs[-1]
    swept = []
    for limb in reversed(limbs[:-1]):
        total, error = two_sum(limb, total)
        swept.append(error)
    return [total, *reversed(swept)]


def _settle(limbs: Sequence[Floats]) -> list[Floats]:
    """Sweep until each limb is the nearest float64 to itself plus the next."""
    while True:
        swept = _sweep(limbs)
        if all(np.array_equal(new, old) for new, old in zip(swept, limbs, strict=True)):
            return swept
        limbs = swept


def _round_ties(limbs: list[Floats]) -> list[Floats]:
    """Make the first of settled limbs the nearest float64 to the whole sum.

    It is that already, unless the second is half a unit of it and the third goes on in the same direction.
    """
    if len(limbs) < 3:
        return limbs
    first, second, third = limbs[:3]
    onward = first + 2 * second
    beyond = (second * np.sign(third) > 0) & (onward - first == 2 * second)
    return [np.where(beyond, onward, first), np.where(beyond, -second, second), *limbs[2:]]
