"""A combiner model: the exact Σ w·x of a combiner's updates, as a safetensors file.

For each tensor of the model, in the model's canonical order: ``h:<name>``, F64 in the tensor's shape, the
heads. Then, where an exact sum needs more than one float64: ``t:<name>``, F64, the tails in the order of
their elements, and after all of those ``i:<name>``, U32, the element that each tail belongs to. An element
may have several tails, the larger first. The header is filled with spaces to a length that depends on the
model's schema only, because it is written last, when the tails are known. Σ w travels beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedn.aggregation.blocks import BLOCK, Layout, descriptor_of
from fedn.aggregation.exact import Elements, Floats
from fedn.errors import ModelInvalid, NonFinite
from fedn.model.safetensors import ModelFile, open_model, read_exactly
from fedn.model.schema import Limits, Schema, TensorSpec

TOO_LARGE_SUM = 2.0**950  # 2^20 values below 2^900, each times a weight below 2^29
_MOST_TAILS = 40  # of one element: as many float64 as fit between 2^950 and 2^-1074 without overlap


def entries_of(schema: Schema, tails: Sequence[int]) -> list[TensorSpec]:
    """The tensors of a combiner model in the order of its file; ``tails`` counts those of each tensor."""
    counted = [(spec, count) for spec, count in zip(schema.tensors, tails, strict=True) if count]
    return [
        *(TensorSpec(f"h:{spec.name}", "F64", spec.shape) for spec in schema.tensors),
        *(TensorSpec(f"t:{spec.name}", "F64", (count,)) for spec, count in counted),
        *(TensorSpec(f"i:{spec.name}", "U32", (count,)) for spec, count in counted),
    ]


def header_length(schema: Schema) -> int:
    """Bytes of the text of every combiner model's header under this schema: enough for any number of tails."""
    each = (
        3 * (len(json.dumps(spec.name, ensure_ascii=False).encode()) + 100) + 14 * len(spec.shape)
        for spec in schema.tensors
    )
    return 8 * (sum(each) // 8 + 1)


@dataclass(frozen=True, slots=True, eq=False)
class SumFile:
    """A combiner model that was checked. ``starts`` counts the tails before each row of ``layout``, and all.

    ``cuts[k]`` counts the tails before element k·`BLOCK` of the model.
    """

    path: Path
    layout: Layout
    data_start: int
    starts: Elements
    cuts: Elements

    @property
    def tail_start(self) -> int:
        """Where in the file the tails begin."""
        return self.data_start + 8 * int(self.layout.starts[-1])

    def heads(self, start: int, out: Floats) -> None:
        """Read the heads of as many elements, from ``start`` on, as ``out`` takes."""
        with descriptor_of(self.path) as descriptor:
            read_exactly(descriptor, out.view(np.uint8), self.data_start + 8 * start)

    def tails(self, start: int, stop: int) -> tuple[Elements, Floats]:
        """The tails of elements ``start`` to ``stop``: each one's element, and its value."""
        first, last = int(self.cuts[start // BLOCK]), int(self.cuts[-(-stop // BLOCK)])
        elements, values = _read_tails(self, first, last)
        inside = slice(*np.searchsorted(elements, [start, stop]))
        return elements[inside], values[inside]


def open_sum(path: Path, schema: Schema, *, size: int | None = None) -> SumFile:
    """Check a combiner model against the model's schema, all of it, in flat memory.

    ``size`` is the announced size in bytes. Raises ModelInvalid, ModelTooLarge, NonFinite.
    """
    layout = Layout(schema)
    most = 2**63 - 1
    limits = Limits(most, header_length(schema), 3 * len(schema.tensors), most, most)
    file = open_model(path, limits=limits, size=size)
    counts = _counts(file, schema)
    starts = np.cumsum([0, *(counts[place] for place in layout.tensors)], dtype=np.int64)
    cuts = np.zeros(-(-int(layout.starts[-1]) // BLOCK) + 1, np.int64)
    total = SumFile(path, layout, file.data_start, starts, cuts)
    _check_elements(total)
    _check_values(total)
    return total


def _counts(file: ModelFile, schema: Schema) -> list[int]:
    """The tails of each tensor, after the names, dtypes, shapes and places are as they must be."""
    found = {spec.name: (spec, offset) for spec, offset in zip(file.schema.tensors, file.offsets, strict=True)}
    lengths = [
        found[name][0].count if spec.count and (name := f"t:{spec.name}") in found else 0 for spec in schema.tensors
    ]
    expected = entries_of(schema, lengths)
    begin = 0
    odd = found.keys() - {spec.name for spec in expected}
    if odd:
        raise ModelInvalid(f"not a combiner model of this schema: it has {min(odd)!r}")
    for spec in expected:
        if found.get(spec.name) != (spec, begin):
            raise ModelInvalid(f"not a combiner model of this schema: {spec.name!r} is not as it must be")
        begin += spec.nbytes
    return lengths


def _read_tails(total: SumFile, first: int, last: int) -> tuple[Elements, Floats]:
    """Tails ``first`` to ``last`` of all in the file: each one's element in the model, and its value."""
    values, inside = np.empty(last - first), np.empty(last - first, np.uint32)
    if first == last:
        return inside.astype(np.int64), values
    index_start = total.tail_start + 8 * int(total.starts[-1])
    with descriptor_of(total.path) as descriptor:
        read_exactly(descriptor, values.view(np.uint8), total.tail_start + 8 * first)
        read_exactly(descriptor, inside.view(np.uint8), index_start + 4 * first)
    rows = np.searchsorted(total.starts, np.arange(first, last), side="right") - 1
    elements = total.layout.starts[rows] + inside
    if np.any(elements >= total.layout.starts[rows + 1]):
        raise ModelInvalid("a combiner model has a tail for an element that its tensor does not have")
    return elements, values


def _check_elements(total: SumFile) -> None:
    """Tails are in the order of their elements, not too many for one; fills in ``cuts``."""
    bounds = np.arange(len(total.cuts)) * BLOCK
    last = np.full(_MOST_TAILS, -1, np.int64)
    for first in range(0, int(total.starts[-1]), BLOCK):
        elements, _ = _read_tails(total, first, min(first + BLOCK, int(total.starts[-1])))
        run = np.concatenate([last, elements])
        if np.any(run[1:] < run[:-1]):
            raise ModelInvalid("the tails of a combiner model are not in the order of their elements")
        if np.any((run[_MOST_TAILS:] == run[:-_MOST_TAILS]) & (run[_MOST_TAILS:] >= 0)):
            raise ModelInvalid("an element of a combiner model has more tails than any sum needs")
        last = run[-_MOST_TAILS:]
        total.cuts[:] += np.searchsorted(elements, bounds)


def _check_values(total: SumFile) -> None:
    """Heads and tails are finite, and each tail is at most half a unit of the float64 before it."""
    end = int(total.layout.starts[-1])
    buffer = np.empty(BLOCK)
    for start in range(0, end, BLOCK):
        heads = buffer[: min(BLOCK, end - start)]
        total.heads(start, heads)
        if not max(heads.max(), -heads.min()) < TOO_LARGE_SUM:
            raise NonFinite("a combiner model holds NaN, Inf, or a sum too large for the updates that it stands for")
        elements, tails = total.tails(start, start + len(heads))
        before = heads[elements - start]
        again = np.flatnonzero(elements[1:] == elements[:-1]) + 1
        before[again] = tails[again - 1]
        if not np.all(2 * np.abs(tails) <= np.spacing(np.abs(before))) or np.any(tails == 0):
            raise ModelInvalid("a combiner model has a tail that overlaps what it belongs to")
