"""Weight times value, as float64 terms without rounding.

float64 holds 53 significant bits. A product of a 24-bit value (float32, bfloat16, float16) and a weight below
2^29 fits; float64 and large integers are split into pieces that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Floats

WEIGHT_BITS = 29  # of the largest num_examples
PIECE_BITS = 53 - WEIGHT_BITS
MOST_PIECES = 3


def terms_of(
    values: npt.NDArray[Any], weight: int, *, dtype: str, top: int, out: Floats, scratch: Floats
) -> Iterator[Floats]:
    """Arrays that add up to weight · values exactly, each in ``out``, which may be written over between.

    All |values| < 2^top. The pieces' absolute values add up to at most 2^(`piece_top`) times the weight.
    """
    if dtype == "F64":
        yield from _of_doubles(values, weight, out, scratch)
    elif dtype == "BF16":
        wide = scratch.view(np.uint32)[: len(values)]
        np.left_shift(values.view(np.uint16), 16, out=wide, dtype=np.uint32)
        yield np.multiply(wide.view(np.float32), float(weight), out=out, dtype=np.float64)
    elif dtype in ("F32", "F16") or top <= PIECE_BITS:
        yield np.multiply(values, float(weight), out=out, dtype=np.float64, casting="unsafe")
    else:
        yield from _of_integers(values, weight, top, out)


def piece_top(*, dtype: str, top: int) -> int:
    """The bound of Σ|pieces| of a value below 2^top: integers are split by floor, which may double it."""
    return top + 1 if dtype[0] in "UI" and top > PIECE_BITS else top


def _of_integers(values: npt.NDArray[Any], weight: int, top: int, out: Floats) -> Iterator[Floats]:
    """x = x₀ + 2^24·x₁ (+ 2^48·x₂) with 0 ≤ x₀, x₁ < 2^24; the last has the sign, and at most 24 bits."""
    shift = 0
    while top - shift > PIECE_BITS:
        piece = (values >> shift) & ((1 << PIECE_BITS) - 1)
        yield np.multiply(piece, float(weight << shift), out=out, dtype=np.float64, casting="unsafe")
        shift += PIECE_BITS
    yield np.multiply(values >> shift, float(weight << shift), out=out, dtype=np.float64, casting="unsafe")


def _of_doubles(values: npt.NDArray[Any], weight: int, out: Floats, scratch: Floats) -> Iterator[Floats]:
    """Cut the low bits of the fraction off, as many as the weight needs, and again of what is left."""
    odd_part = weight // (weight & -weight)
    bits = odd_part.bit_length() if odd_part > 1 else 0
    rest, piece = scratch, out
    rest[:] = values
    left = 53
    while bits and left > 53 - bits:
        np.bitwise_and(rest.view(np.uint64), np.uint64(-1 << bits & (1 << 64) - 1), out=piece.view(np.uint64))
        np.subtract(rest, piece, out=rest)
        yield np.multiply(piece, float(weight), out=piece)
        left -= 53 - bits
    yield np.multiply(rest, float(weight), out=out)
