"""From float64 to the narrower dtypes, as bit patterns, whole blocks at a time.

float32 is one rounding of the hardware. The 16-bit floats go through float32, as libraries round them
differently from float64: with a wider margin of doubt, or, exactly, from a float32 that is rounded to odd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Floats
from fedn.aggregation.ranges import FLOATS
from fedn.model.schema import DTYPES

Bits: TypeAlias = npt.NDArray[Any]
_Singles: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """How float64 becomes a dtype.

    Where ``nearly`` gives the same for x(1 − margin) and x(1 + margin), that is what every number within 2^-52
    of x rounds to; ``exactly`` rounds a float64 that was rounded to odd.
    """

    nearly: Callable[[Floats], Bits]
    exactly: Callable[[Floats], Bits]
    margin: float
    lowest: float
    highest: float
    spare: float  # from here on, float64 has not the two bits to spare that rounding to odd needs
    coarse: float  # below, the float32 between is too coarse for the margin


def narrowing(dtype: str) -> Narrowing:
    """How float64 becomes this dtype; F64 itself is none of them."""
    if dtype not in FLOATS:
        return _to_integers(dtype)
    form = FLOATS[dtype]
    most = float(np.array([form.infinity - 1], form.bits).view(DTYPES[dtype])[0])
    if dtype == "F32":
        return Narrowing(_single, _single, 2.0**-51, -most, most, math.inf, 0.0)
    narrow = _half if dtype == "F16" else _brain
    return Narrowing(
        lambda x: narrow(x.astype(np.float32)),
        lambda x: narrow(_odd_single(x)),
        2.0**-22,
        -most,
        most,
        math.inf,
        2.0**-120,
    )


def _to_integers(dtype: str) -> Narrowing:
    kind = DTYPES[dtype]
    lowest, highest = (0, 1) if dtype == "BOOL" else (np.iinfo(kind).min, np.iinfo(kind).max)
    bits = np.dtype(f"u{kind.itemsize}")

    def nearest(x: Floats) -> Bits:
        return np.rint(x).astype(kind).view(bits)

    return Narrowing(nearest, nearest, 2.0**-51, float(lowest), float(highest), 2.0**51, 0.0)


def _single(x: Floats) -> Bits:
    return x.astype(np.float32).view(np.uint32)


def _half(x: _Singles) -> Bits:
    return x.astype(np.float16).view(np.uint16)


def _brain(x: _Singles) -> Bits:
    """The upper half of a float32, to the nearest: halfway plus one if that makes an odd one even."""
    bits = x.view(np.uint32)
    even = (bits >> 16) & 1
    even += 0x7FFF
    even += bits
    return (even >> 16).astype(np.uint16)


def _odd_single(x: Floats) -> _Singles:
    """float64 to float32, the odd one of the two around it where it is none."""
    single = x.astype(np.float32)
    bits = single.view(np.uint32)
    step = np.where(np.abs(x) > np.abs(single), 1, -1)
    odd = np.where((single != x) & (bits & 1 == 0), bits + step, bits)
    return odd.astype(np.uint32).view(np.float32)
