"""How large and how fine the values of a model are: what an exact sum of them needs to know beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.aggregation.blocks import BLOCK, Block, Layout, Source
from fedn.errors import ModelInvalid, NonFinite
from fedn.model.safetensors import ModelFile
from fedn.model.schema import Schema

TOO_LARGE = 900  # a value of 2^900 or more is refused: sums of sums must stay finite in float64
NO_VALUE_TOP, NO_VALUE_GRID = -2000, 2000  # of a tensor of zeros: below and above those of any value


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """The bits of a binary floating-point dtype. ``precision`` counts the leading bit that is not stored."""

    bits: np.dtype[Any]
    precision: int
    grid: int  # every finite value is a multiple of 2^grid

    @property
    def infinity(self) -> int:
        """The bit pattern of +Inf; those of NaN are larger."""
        width = 8 * self.bits.itemsize
        return (1 << (width - 1)) - (1 << (self.precision - 1))


FLOATS = {
    "F64": FloatFormat(np.dtype(np.uint64), 53, -1074),
    "F32": FloatFormat(np.dtype(np.uint32), 24, -149),
    "BF16": FloatFormat(np.dtype(np.uint16), 8, -133),
    "F16": FloatFormat(np.dtype(np.uint16), 11, -24),
}


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """For each tensor of a schema: all |x| < 2^top, and all x are multiples of 2^grid."""

    tops: npt.NDArray[np.int16]
    grids: npt.NDArray[np.int16]


def scan(model: ModelFile, *, schema: Schema | None = None, wire: str = "F32") -> Ranges:
    """Read all values of a model once, in flat memory.

    ``schema`` is the model's with F32 where the file has ``wire``; the ranges are in its order.
    Raises NonFinite, naming tensor and element, for NaN, Inf, or |x| ≥ 2^900.
    """
    layout = Layout(schema or model.schema)
    source = Source(model, layout, wire=wire)
    data = np.empty(BLOCK * 8, np.uint8)
    scratch = np.empty(BLOCK * 8, np.uint8)
    tops = np.full(len(model.schema.tensors), NO_VALUE_TOP, np.int16)
    grids = np.full(len(model.schema.tensors), NO_VALUE_GRID, np.int16)
    for block in layout.blocks():
        values = source.read(block, data)
        edges = layout.edges(block)
        if block.dtype in FLOATS:
            top, grid = _floats(values, edges, FLOATS[source.dtype(block)], scratch)
        else:
            top, grid = _integers(values, edges)
        _refuse(block, top, values, layout)
        places = layout.tensors[block.first : block.last]
        tops[places] = np.maximum(tops[places], top)
        grids[places] = np.minimum(grids[places], grid)
    return Ranges(tops, grids)


_Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _floats(
    values: npt.NDArray[Any], edges: npt.NDArray[np.int64], form: FloatFormat, scratch: npt.NDArray[np.uint8]
) -> _Found:
    """Top and grid of each row. Without the sign, floats are ordered as their bits are."""
    bits = values.view(form.bits)
    magnitude = scratch[: bits.nbytes].view(form.bits)
    np.bitwise_and(bits, form.bits.type((1 << (8 * form.bits.itemsize - 1)) - 1), out=magnitude)
    largest = _by_row(np.maximum, magnitude, edges)
    np.subtract(magnitude, form.bits.type(1), out=magnitude)  # zero becomes the largest of all
    smallest = _by_row(np.minimum, magnitude, edges)
    fraction = form.precision - 1
    top = (largest >> fraction).astype(np.int64) + form.grid + fraction
    top[largest >= form.infinity] = 2**14
    # The unit of the smallest value but zero: adding 1 to a wrapped zero gives 0 again.
    grid = np.maximum(((smallest + form.bits.type(1)) >> fraction).astype(np.int64), 1) - 1 + form.grid
    empty = largest == 0
    top[empty], grid[empty] = NO_VALUE_TOP, NO_VALUE_GRID
    return top, grid


def _integers(values: npt.NDArray[Any], edges: npt.NDArray[np.int64]) -> _Found:
    """Top of each row; the grid of integers is 1."""
    numbers = values.view(np.uint8) if values.dtype == np.bool_ else values
    bounds = zip(_by_row(np.maximum, numbers, edges), _by_row(np.minimum, numbers, edges), strict=True)
    top = [max(int(high).bit_length(), int(low).bit_length()) or NO_VALUE_TOP for high, low in bounds]
    return np.array(top, np.int64), np.zeros(len(edges), np.int64)


def _by_row(ufunc: np.ufunc, values: npt.NDArray[Any], edges: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    if len(edges) == 1:
        return np.asarray(ufunc.reduce(values)).reshape(1)  # an order of magnitude faster
    return np.asarray(ufunc.reduceat(values, edges))


def _refuse(block: Block, top: npt.NDArray[np.int64], values: npt.NDArray[Any], layout: Layout) -> None:
    """Raise for the first row that holds what cannot be summed."""
    limit = 1 if block.dtype == "BOOL" else TOO_LARGE
    if top.max() <= limit:
        return
    row = int(np.argmax(top > limit))
    spec = layout.schema.tensors[layout.tensors[block.first + row]]
    if block.dtype == "BOOL":
        raise ModelInvalid(f"tensor {spec.name!r} is BOOL but has bytes other than 0 and 1")
    with np.errstate(invalid="ignore"):
        wide = np.abs(values[layout.edges(block)[row] :].astype(np.float64))
        place = int(np.argmax(~(wide < 2.0**TOO_LARGE)))
    value = values[layout.edges(block)[row] + place]
    element = block.start + int(layout.edges(block)[row]) + place - int(layout.starts[block.first + row])
    index = [int(i) for i in np.unravel_index(element, spec.shape)] if spec.shape else []
    raise NonFinite(f"tensor {spec.name!r} has {float(value)} at {index}", tensor=spec.name, index=index)
