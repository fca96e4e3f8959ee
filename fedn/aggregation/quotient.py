"""Division of exact sums by the total weight, correctly rounded to the model's dtype.

A sum comes as hi + lo ± slack. Ziv's test (1991): a quotient is computed with a known error; where both ends
of that error round to the same value, it is the right one. Where not, the remainder of the division, which
is exact, tells on which side of a tie the quotient is; and what even that leaves open is given back to be
computed with integers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Elements, Floats, Sums, two_product, two_sum
from fedn.aggregation.narrowing import Bits, narrowing
from fedn.errors import ModelInvalid

_SMALL = 2.0**-900  # below, the error of a product might underflow


def divide(sums: Sums, weight: int, dtype: str) -> tuple[Bits, Elements]:
    """The rounded means as bit patterns of the dtype, and the elements of which they are not certain.

    Raises ModelInvalid when a mean is beyond the dtype's range: no updates have such sums.
    """
    divisor = float(weight)
    quotient = sums.hi / divisor
    with np.errstate(over="ignore", invalid="ignore"):  # of casts that are found doubtful, or overwritten
        if dtype == "F64":
            return _to_double(quotient, sums, divisor)
        return _to_narrow(quotient, sums, divisor, dtype)


def _to_narrow(quotient: Floats, sums: Sums, weight: float, dtype: str) -> tuple[Bits, Elements]:
    """To a dtype whose values and ties are float64 themselves; the quotient is wrong by 2^-52 of itself."""
    to = narrowing(dtype)
    if quotient.max() > to.highest * (1 + 2.0**-50) or quotient.min() < to.lowest * (1 + 2.0**-50):
        raise ModelInvalid(f"combiner models whose mean is beyond {dtype}")
    bits = to.nearly(quotient * (1 - to.margin))
    doubtful = bits != to.nearly(quotient * (1 + to.margin))
    doubtful |= sums.slack > np.abs(sums.hi) * 2.0**-60
    doubtful |= to.is_coarse(quotient)
    elements = np.flatnonzero(doubtful)
    if len(elements):
        odd, certain = _rounded_to_odd(quotient[elements], sums.at(elements), weight)
        certain &= np.abs(odd) < to.spare
        bits[elements[certain]] = to.exactly(odd[certain])
        elements = elements[~certain]
    return bits, elements


def _rounded_to_odd(quotient: Floats, sums: Sums, weight: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The exact quotients as float64, made odd where they lie between two; and where that is certain.

    An odd last bit says "and a little more or less", which no later rounding to fewer bits forgets (Boldo and
    Melquiond 2008).
    """
    nearest = quotient + (_remainder(sums.hi, quotient, weight) + sums.lo) / weight
    product, error = two_product(nearest, weight)
    rest, lost = two_sum(sums.hi - product, sums.lo)
    rest, more_lost = two_sum(rest, -error)
    rest = rest + (lost + more_lost)  # its sign is that of hi + lo − nearest·weight
    bits = nearest.view(np.int64)
    step = np.where((rest > 0) == (nearest > 0), 1, -1)
    odd = np.where((rest != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64)
    return odd, (sums.slack == 0) & (np.abs(sums.hi) >= _SMALL)


def _to_double(quotient: Floats, sums: Sums, weight: float) -> tuple[Bits, Elements]:
    """A second quotient, of the remainder, gives the bits that decide."""
    rest, lost = two_sum(_remainder(sums.hi, quotient, weight), sums.lo)
    second = rest / weight
    wrong = sums.slack + np.abs(lost)
    margin = np.abs(second) * 2.0**-50 + wrong * (2 / weight)
    value = quotient + (second - margin)
    doubtful = value != quotient + (second + margin)
    doubtful |= (np.abs(sums.hi) < _SMALL) & (sums.hi != 0)
    elements = np.flatnonzero(doubtful)
    if len(elements):
        product, error = two_product(second[elements], weight)
        certain = (wrong[elements] == 0) & (np.abs(sums.hi[elements]) >= _SMALL)
        certain &= (product == rest[elements]) & (error == 0)  # so the second quotient is exact
        certain &= (np.abs(rest[elements]) >= _SMALL) | (rest[elements] == 0)
        value[elements[certain]] = (quotient + second)[elements[certain]]
        elements = elements[~certain]
    return value.view(np.uint64), elements


def _remainder(dividend: Floats, quotient: Floats, weight: float) -> Floats:
    """dividend − quotient · weight, exactly, for the nearest quotient."""
    product, error = two_product(quotient, weight)
    remainder: Floats = (dividend - product) - error
    return remainder
