"""Which levels an exact sum needs, from the ranges of all that goes into it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fedn.aggregation.blocks import Layout
from fedn.aggregation.exact import grids_of_levels
from fedn.aggregation.ranges import NO_VALUE_GRID, NO_VALUE_TOP, Ranges
from fedn.aggregation.terms import MOST_PIECES, piece_top

_LEVELS_OF_BLOCK = 8  # with more accumulators, blocks get smaller instead of memory larger


class Plan:
    """The ranges of all contributions together. Rows are those of the layout."""

    def __init__(self, layout: Layout, weighted: Iterable[tuple[Ranges, int]]) -> None:
        tops = np.full(len(layout.schema.tensors), NO_VALUE_TOP, np.int16)
        grids = np.full(len(layout.schema.tensors), NO_VALUE_GRID, np.int16)
        weight = terms = 0
        for ranges, its_weight in weighted:
            np.maximum(tops, ranges.tops, out=tops)
            np.minimum(grids, ranges.grids, out=grids)
            weight += its_weight
            terms += MOST_PIECES
        self._tops, self._grids = tops[layout.tensors], grids[layout.tensors]
        self._weight_bits, self._terms = weight.bit_length(), terms
        self._dtypes = np.array([layout.schema.tensors[place].dtype for place in layout.tensors])

    def top(self, first: int, last: int) -> int:
        """All |x| of rows ``first`` to ``last`` are below 2 to this."""
        return int(self._tops[first:last].max())

    def levels(self, dtype: str, first: int, last: int) -> tuple[int, ...]:
        """The grids of the anchored levels that sums of these rows need."""
        bound = piece_top(dtype=dtype, top=self.top(first, last)) + self._weight_bits
        return grids_of_levels(bound=bound, grid=int(self._grids[first:last].min()), terms=self._terms)

    def block_size(self, dtype: str, wanted: int) -> int:
        """Elements of a block of this dtype: fewer than ``wanted`` when its sums need many levels."""
        rows = np.flatnonzero(self._dtypes == dtype)
        levels = len(self.levels(dtype, int(rows[0]), int(rows[-1]) + 1))
        return max(1, wanted * _LEVELS_OF_BLOCK // max(_LEVELS_OF_BLOCK, levels))
