"""Sums of combiner models as pairs of float64, with what a pair cannot hold counted and not lost unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from fedn.aggregation.exact import Elements, Floats, two_sum, two_sum_in_place
from fedn.aggregation.sums import SumFile


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums as pairs: each is hi + lo, wrong by at most its slack; |lo| is at most half a unit of hi."""

    hi: Floats
    lo: Floats
    slack: Floats

    def at(self, elements: Elements) -> Sums:
        """Those of some elements."""
        return Sums(self.hi[elements], self.lo[elements], self.slack[elements])


class PairSum:
    """Adds up combiner models, a block at a time, in memory that is used again for every block."""

    def __init__(self, size: int) -> None:
        self._arrays = [np.empty(size) for _ in range(5)]
        self._slack = np.empty(size)

    def add_up(self, sums: Sequence[SumFile], start: int, size: int) -> tuple[Sums, tuple[Floats, Floats]]:
        """The sum of elements ``start`` to ``start + size`` of all, and two arrays of that size to spare."""
        hi, lo, error, spare, more = (array[:size] for array in self._arrays)
        slack = self._slack[:size]
        slack[:] = 0.0
        lo[:] = 0.0
        sums[0].heads(start, hi)
        for number, each in enumerate(sums[1:]):
            each.heads(start, error)
            two_sum_in_place(hi, error, spare, more)
            hi, spare = spare, hi
            if number == 0:
                lo, error = error, lo
                continue
            two_sum_in_place(lo, error, spare, more)
            lo, spare = spare, lo
            slack += np.abs(error, out=error)
        for each in sums:
            _add_tails(lo, slack, *each.tails(start, start + size), start)
        two_sum_in_place(hi, lo, spare, more)
        return Sums(spare, lo, slack), (hi, more)


def exact_totals(sums: Sequence[SumFile], start: int, total: Sums, elements: Elements) -> dict[int, int | Fraction]:
    """Sums of some elements as rational numbers: from the pairs that are exact, else from the files."""
    lossless = total.slack[elements] == 0
    exact = total.at(elements[lossless])
    pairs = zip(exact.hi.tolist(), exact.lo.tolist(), strict=True)
    totals = {
        element: _rational(hi) + _rational(lo)
        for element, (hi, lo) in zip(elements[lossless].tolist(), pairs, strict=True)
    }
    lossy = elements[~lossless]
    if not len(lossy):
        return totals
    totals.update(dict.fromkeys(lossy.tolist(), 0))
    heads = np.empty(len(total.hi))
    for each in sums:
        each.heads(start, heads)
        places, tails = each.tails(start, start + len(heads))
        wanted = np.isin(places - start, lossy)
        for element, part in chain(
            zip(lossy.tolist(), heads[lossy].tolist(), strict=True),
            zip((places[wanted] - start).tolist(), tails[wanted].tolist(), strict=True),
        ):
            totals[element] += _rational(part)
    return totals


def _rational(x: float) -> int | Fraction:
    return int(x) if x.is_integer() else Fraction(x)


def _add_tails(lo: Floats, slack: Floats, elements: Elements, tails: Floats, start: int) -> None:
    """Add tails to lo: the first of each element, then the second of those that have one, and so on."""
    while len(tails):
        later = np.zeros(len(tails), np.bool_)
        later[1:] = elements[1:] == elements[:-1]
        places = elements[~later] - start
        lo[places], lost = two_sum(lo[places], tails[~later])
        slack[places] += np.abs(lost)
        elements, tails = elements[later], tails[later]
