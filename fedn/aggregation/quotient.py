"""Division of exact sums by the total weight, correctly rounded to the model's dtype.

A sum comes as hi + lo ± slack. Ziv's test (1991): a quotient is computed with a known error; where both ends
of that error round to the same value, it is the right one. Where not, the remainder of the division, which
is exact, tells on which side of a tie the quotient is; and what even that leaves open is given back to be
computed with integers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Elements, Floats, two_product, two_sum
from fedn.aggregation.narrowing import Bits, narrowing
from fedn.aggregation.pairs import Sums
from fedn.errors import ModelInvalid

MOST_WEIGHT = 2**50  # the proof of `_to_double` has three bits to spare
_SMALL = 2.0**-900  # below, the error of a product might underflow


def divide(sums: Sums, weight: int, dtype: str, *, spare: tuple[Floats, Floats]) -> tuple[Bits, Elements]:
    """The rounded means as bit patterns of the dtype, and the elements of which they are not certain.

    ``spare`` are two more arrays of as many elements, which are written over. Raises ModelInvalid when a mean
    is beyond the dtype's range: no updates have such sums.
    """
    divisor = float(weight)
    quotient = np.divide(sums.hi, divisor, out=spare[0])
    with np.errstate(over="ignore", invalid="ignore"):  # of casts that are found doubtful, or overwritten
        if dtype == "F64":
            return _to_double(quotient, sums, divisor)
        return _to_narrow(quotient, sums, divisor, dtype, spare[1])


def _to_narrow(quotient: Floats, sums: Sums, weight: float, dtype: str, spare: Floats) -> tuple[Bits, Elements]:
    """To a dtype whose values and ties are float64 themselves; the quotient is wrong by 2^-52 of itself."""
    to = narrowing(dtype)
    if quotient.max() > to.highest * (1 + 2.0**-50) or quotient.min() < to.lowest * (1 + 2.0**-50):
        raise ModelInvalid(f"combiner models whose mean is beyond {dtype}")
    bits = to.nearly(np.multiply(quotient, 1 - to.margin, out=spare))
    doubtful = bits != to.nearly(np.multiply(quotient, 1 + to.margin, out=spare))
    if sums.slack.any():
        doubtful |= sums.slack > np.multiply(np.abs(sums.hi, out=spare), 2.0**-60, out=spare)
    if to.coarse or to.spare < math.inf:
        size = np.abs(quotient, out=spare)
        doubtful |= (size >= to.spare) | ((size < to.coarse) & (size > 0))
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
    """A second quotient, of the remainder, gives the bits that decide.

    A remainder without error needs no test: it would have to be k·weight·2^e, but for less than a unit, to have
    its quotient rounded onto a tie, k·2^e with k ≤ 8, and k·weight < 2^53 is a float64 itself.
    """
    rest, lost = two_sum(_remainder(sums.hi, quotient, weight), sums.lo)
    second = rest / weight
    wrong = sums.slack + np.abs(lost)
    margin = np.abs(second) * 2.0**-50 + wrong * (2 / weight)
    doubtful = (quotient + (second - margin) != quotient + (second + margin)) & (wrong != 0)
    doubtful |= (np.abs(sums.hi) < _SMALL) & (sums.hi != 0)
    return (quotient + second).view(np.uint64), np.flatnonzero(doubtful)


def _remainder(dividend: Floats, quotient: Floats, weight: float) -> Floats:
    """dividend − quotient · weight, exactly, for the nearest quotient."""
    product, error = two_product(quotient, weight)
    remainder: Floats = (dividend - product) - error
    return remainder
