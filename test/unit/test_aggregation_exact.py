from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn.aggregation.exact import MOST_TERMS, Accumulator, expand, grids_of_levels, two_product, two_sum
from fedn.aggregation.pairs import Sums
from fedn.aggregation.quotient import divide
from fedn.aggregation.ranges import FLOATS
from fedn.aggregation.rounding import round_to_bits
from fedn.aggregation.terms import piece_top, terms_of
from fedn.model.schema import DTYPES

moderate = settings(deadline=None, derandomize=True, max_examples=150)
doubles = st.floats(min_value=-(2.0**899), max_value=2.0**899, allow_nan=False)


def exactly(terms: list[float]) -> list[float]:
    """The canonical expansion of a sum, from a library that knows how: nearest, nearest to the rest, …"""
    parts: list[float] = []
    while (part := math.fsum([*terms, *(-p for p in parts)])) != 0:
        parts.append(part)
    return parts or [0.0]


def expansion_of(limbs: list[float]) -> list[float]:
    heads, elements, tails = expand([np.array([limb]) for limb in limbs])
    assert set(elements.tolist()) <= {0}
    return [float(heads[0]), *tails.tolist()]


@moderate
@given(st.lists(doubles, min_size=1, max_size=6))
def test_an_expansion_depends_on_the_exact_sum_only(limbs: list[float]) -> None:
    assert expansion_of(limbs) == exactly(limbs)


@pytest.mark.parametrize(
    "limbs",
    [
        [1.0, 2.0**-53, 2.0**-120],  # a tie that the third part decides, away from even
        [1.0 + 2.0**-52, 2.0**-53, -(2.0**-120)],
        [1.0, -(2.0**-54), -(2.0**-120)],  # below a power of two the units are half as large
        [1.0, 2.0**-53, 2.0**-106, 2.0**-159, 2.0**-300],
        [2.0**60, -(2.0**60), 5e-324],
        [0.0, 0.0, 0.0],
    ],
)
def test_ties_of_an_expansion_go_where_the_rest_points(limbs: list[float]) -> None:
    assert expansion_of(limbs) == exactly(limbs)


def test_expansions_keep_the_order_of_their_elements() -> None:
    limbs = [np.array([1.0, 2.0, 3.0]), np.array([2.0**-60, 0.0, 2.0**-60]), np.array([0.0, 0.0, 2.0**-130])]
    heads, elements, tails = expand(limbs)
    assert heads.tolist() == [1.0, 2.0, 3.0]
    assert elements.tolist() == [0, 2, 2]
    assert tails.tolist() == [2.0**-60, 2.0**-60, 2.0**-130]


@moderate
@given(st.lists(doubles, min_size=1, max_size=30), st.booleans())
def test_accumulated_terms_keep_every_bit(terms: list[float], cancel: bool) -> None:
    if cancel:
        terms = terms + [-t for t in terms[1:]]
    bound = max(math.frexp(t)[1] for t in terms) + len(terms).bit_length()
    accumulator = Accumulator(1)
    accumulator.begin(1, grids_of_levels(bound=bound, grid=-1074, terms=len(terms)))
    for term in terms:
        accumulator.add(np.array([term]))
    heads, elements, tails = accumulator.result()
    assert elements.tolist() == [0] * len(tails)
    assert [float(heads[0]), *tails.tolist()] == exactly(terms)


def test_float32_of_ordinary_size_needs_one_anchored_level() -> None:
    bound, grid = -3 + (10 * 600).bit_length(), -53  # ten clients with 600 examples, |x| < 2^-3
    assert len(grids_of_levels(bound=bound, grid=grid, terms=30)) == 1
    assert grids_of_levels(bound=24, grid=-24, terms=30) == ()


@moderate
@given(st.integers(-1000, 1000), st.integers(-1074, 1000), st.integers(1, MOST_TERMS))
def test_levels_keep_the_bounds_that_exactness_rests_on(bound: int, grid: int, terms: int) -> None:
    largest = Fraction(2) ** bound  # of the sum of all terms that enter a level
    for level in grids_of_levels(bound=bound, grid=grid, terms=terms):
        unit = Fraction(2) ** level
        assert level > grid
        assert largest + terms * unit / 2 < 2**51 * unit  # the accumulator stays around its anchor
        assert 2.0 ** (52 + level) >= 2.0**-1022
        largest = terms * unit / 2
    assert largest <= Fraction(2) ** (grid + 53)  # plain additions are exact


def test_levels_refuse_more_terms_than_their_bounds_allow() -> None:
    with pytest.raises(ValueError, match="terms"):
        grids_of_levels(bound=100, grid=-149, terms=2**22 + 1)


@moderate
@given(doubles, st.floats(-1e100, 1e100))
def test_error_free_transformations_have_no_error(a: float, b: float) -> None:
    total, error = two_sum(a, b)
    assert Fraction(total) + Fraction(error) == Fraction(a) + Fraction(b)
    scaled = math.ldexp(math.frexp(a)[0], 3)
    product, lost = two_product(np.array([scaled]), 2.0**48 - 59)
    assert Fraction(float(product[0])) + Fraction(float(lost[0])) == Fraction(scaled) * (2**48 - 59)


def pieces(values: npt.NDArray[np.generic], weight: int, dtype: str, top: int) -> list[Fraction]:
    out, scratch = np.empty(len(values)), np.empty(len(values))
    sums = [Fraction() for _ in values]
    for term in terms_of(values, weight, dtype=dtype, top=top, out=out, scratch=scratch):
        sums = [total + Fraction(float(part)) for total, part in zip(sums, term, strict=True)]
    return sums


@pytest.mark.parametrize("weight", [1, 2, 3, 600, 2**26 - 1, 2**27 - 1, 2**29 - 1, 2**28])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("F64", [math.pi, -math.e * 2**800, 5e-324, 1 + 2.0**-52, -(2 - 2.0**-52), 0.0]),
        ("F32", [math.pi, -3.4028234663852886e38, 1e-45, 2 - 2.0**-23]),
        ("F16", [65504.0, -5.960464477539063e-08]),
        ("BF16", [3.3895313892515355e38, -9.183549615799121e-41, 0.0078125]),
        ("I64", [2**63 - 1, -(2**63), -1, 0, 2**48 + 12345]),
        ("U64", [2**64 - 1, 1, 0]),
        ("I32", [2**31 - 1, -(2**31), -1, 7]),
        ("U32", [2**32 - 1, 2**24]),
        ("I8", [-128, 127]),
        ("BOOL", [False, True]),
    ],
)
def test_terms_add_up_to_weight_times_value_exactly(dtype: str, values: list[float], weight: int) -> None:
    array = np.array(values).astype(DTYPES[dtype]) if dtype != "U64" else np.array(values, np.uint64)
    top = max(abs(int(v)).bit_length() for v in values)
    expected = [Fraction(v.item() if dtype[0] in "UI" else float(v)) * weight for v in array]
    assert pieces(array, weight, dtype, top) == expected


@moderate
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4), st.integers(1, 2**29 - 1))
def test_pieces_of_integers_stay_below_their_bound(values: list[int], weight: int) -> None:
    top = max(max(v.bit_length() for v in values), 1)
    size = np.zeros(len(values))
    out, scratch = np.empty(len(values)), np.empty(len(values))
    for term in terms_of(np.array(values), weight, dtype="I64", top=top, out=out, scratch=scratch):
        size += np.abs(term)
    assert all(Fraction(float(s)) <= Fraction(2) ** piece_top(dtype="I64", top=top) * weight for s in size)


def test_pieces_can_be_larger_than_what_they_are_pieces_of() -> None:
    assert piece_top(dtype="I32", top=25) == 26  # −2^24 − 1 is −2·2^24 and 2^24 − 1
    assert piece_top(dtype="I32", top=24) == 24
    assert piece_top(dtype="F32", top=100) == 100


def exact_values(dtype: str, weight: int, rng: np.random.Generator) -> list[Fraction]:
    """Sums whose means are values of the dtype, ties between two, and a hair to the side of either."""
    form = FLOATS[dtype]
    ordinary = rng.integers(1, form.infinity - 1, 60, dtype=np.uint64)
    subnormal = rng.integers(1, 2 ** (form.precision - 1), 20, dtype=np.uint64)
    bits = np.concatenate([ordinary, subnormal])
    values = [Fraction(float(v)) for v in bits.astype(form.bits).view(DTYPES[dtype]).astype(np.float64)]
    after = [Fraction(float(v)) for v in (bits + 1).astype(form.bits).view(DTYPES[dtype]).astype(np.float64)]
    ties = [(a + b) / 2 for a, b in zip(values, after, strict=True)]
    hairs = [
        t * (1 + sign * Fraction(1, 2**k))
        for t in ties[::4]
        for sign in (1, -1)
        for k in (50, 70, 95, *range(101, 106))
    ]
    return [sign * weight * v for v in (*values, *ties, Fraction(0), *hairs) for sign in (1, -1)]


def as_sums(values: list[Fraction]) -> tuple[Sums, list[Fraction]]:
    """The pairs nearest to these values, and what the pairs are worth."""
    pairs = [(hi := float(v), float(v - Fraction(hi))) for v in values]
    worth = [Fraction(hi) + Fraction(lo) for hi, lo in pairs]
    array = np.array(pairs)
    return Sums(array[:, 0].copy(), array[:, 1].copy(), np.zeros(len(pairs))), worth


def divided(sums: Sums, weight: int, dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    return divide(sums, weight, dtype, spare=(np.empty_like(sums.hi), np.empty_like(sums.hi)))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
@pytest.mark.parametrize("weight", [1, 2, 3, 10, 6000, 2**48 - 59])
def test_quotients_that_are_called_certain_are_correctly_rounded(dtype: str, weight: int) -> None:
    values = exact_values(dtype, weight, np.random.default_rng(weight))
    plain = set(values[:320])  # values of the dtype, and ties
    if dtype == "F64":
        values = [v for v in values if abs(v) < 2**940]
    sums, worth = as_sums(values)
    bits, unsure = divided(sums, weight, dtype)
    certain = set(range(len(values))) - set(unsure.tolist())
    for element in certain:
        assert int(bits[element]) == round_to_bits(worth[element] / weight, dtype), (element, worth[element])
    # without slack nothing is left to the slow path, neither ties nor zeros, but doubles within 2^-100 of a tie,
    # and such that the error of a product might underflow
    assert not {v for v in plain if abs(v) > Fraction(1, 2**800)} & {values[element] for element in unsure}
    assert dtype == "F64" or len(unsure) == 0


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64", "I32"])
def test_quotients_within_the_slack_of_a_tie_are_called_uncertain(dtype: str) -> None:
    tie = {"F32": 1 + 2.0**-24, "BF16": 1 + 2.0**-8, "F64": 1.0, "I32": 2.5}[dtype]
    lo = 2.0**-53 if dtype == "F64" else 0.0
    sums = Sums(np.array([tie, 1.0]), np.array([lo, 0.0]), np.array([2.0**-110, 0.0]))
    _, unsure = divided(sums, 1, dtype)
    assert unsure.tolist() == [0]


def test_sums_of_zeros_and_equal_values_do_not_reach_the_slow_path() -> None:
    hi = np.concatenate([np.zeros(500), np.arange(500) * 10.0])
    for dtype in ("F16", "BF16", "F32", "F64", "I64", "U8", "BOOL"):
        part = hi if dtype not in ("U8", "BOOL") else np.minimum(hi, 10.0)
        _, unsure = divided(Sums(part, np.zeros(1000), np.zeros(1000)), 10, dtype)
        assert len(unsure) == 0, dtype


def test_integers_are_rounded_half_to_even() -> None:
    sums = Sums(np.array([1.0, 3.0, 5.0, -1.0, -3.0, 6.0]), np.zeros(6), np.zeros(6))
    bits, unsure = divided(sums, 2, "I64")
    assert bits.view(np.int64).tolist() == [0, 2, 2, 0, -2, 3]
    assert len(unsure) == 0


@pytest.mark.parametrize(
    ("value", "dtype", "bits"),
    [
        (Fraction(1), "F32", 0x3F800000),
        (Fraction(1, 3), "F32", 0x3EAAAAAB),
        (Fraction(-1, 3), "F64", 0xBFD5555555555555),
        (Fraction(1, 2**149), "F32", 1),
        (Fraction(1, 2**150), "F32", 0),  # a tie with zero, which is even
        (Fraction(-3, 2**150), "F32", 0x80000002),
        (Fraction(2**24 - 1, 2**150), "F32", 0x00800000),  # from the subnormals up to the smallest normal
        (Fraction(2**25 - 1, 2**24), "F32", 0x40000000),  # up to the next power of two
        (Fraction(65519), "F16", 0x7BFF),
        (Fraction(257, 256), "BF16", 0x3F80),
        (Fraction(5, 2), "I8", 2),
        (Fraction(-7, 2), "I8", 0xFC),
        (Fraction(1, 2), "BOOL", 0),
        (Fraction(2**64 - 1), "U64", 2**64 - 1),
    ],
)
def test_one_rational_is_rounded_to_the_bits_that_are_nearest(value: Fraction, dtype: str, bits: int) -> None:
    assert round_to_bits(value, dtype) == bits


@pytest.mark.parametrize(("value", "dtype"), [(65520, "F16"), (2**128, "F32"), (128, "I8"), (-1, "U8"), (2, "BOOL")])
def test_a_rational_beyond_the_dtype_is_refused(value: int, dtype: str) -> None:
    with pytest.raises(OverflowError):
        round_to_bits(Fraction(value), dtype)
