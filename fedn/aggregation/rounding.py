"""Correct rounding of one exact rational number to a dtype, with integers: slow, and beyond doubt."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fedn.aggregation.ranges import FLOATS, FloatFormat
from fedn.model.schema import DTYPES


def round_to_bits(value: Fraction, dtype: str) -> int:
    """The bit pattern of the value of this dtype that is nearest, the even one of two.

    Raises OverflowError when the dtype has no finite value that near.
    """
    if dtype in FLOATS:
        return _float_bits(value, FLOATS[dtype])
    number = round(value)
    kind = DTYPES[dtype]
    lowest, highest = (0, 1) if dtype == "BOOL" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    if not lowest <= number <= highest:
        raise OverflowError(f"{number} is out of the range of {dtype}")
    return number & ((1 << 8 * kind.itemsize) - 1)


def _float_bits(value: Fraction, form: FloatFormat) -> int:
    """A float with unit 2^e is n·2^e with n < 2^precision; as bits, e − grid counts above n's fraction."""
    if not value:
        return 0
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length() - form.precision
    if size * Fraction(2) ** -exponent >= 1 << form.precision:
        exponent += 1
    exponent = max(exponent, form.grid)
    bits = round(size * Fraction(2) ** -exponent) + (exponent - form.grid << form.precision - 1)
    if bits >= form.infinity:
        raise OverflowError("the value is beyond the largest finite float")
    return bits | (value < 0) << (8 * form.bits.itemsize - 1)
