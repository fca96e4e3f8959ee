from __future__ import annotations

import doctest
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fedn.aggregation.fedavg
from fedn.aggregation.fedavg import fedavg
from fedn.aggregation.fold import Contribution, check_num_examples, check_update, fold
from fedn.aggregation.kernel import Kernel
from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.errors import BadNumExamples, ModelInvalid, NonFinite, QuorumNotMet, SchemaMismatch
from fedn.model.safetensors import load_tensors, open_model, write_model
from fedn.model.schema import DTYPES, Schema

Tensors = dict[str, npt.NDArray[Any]]
Updates = list[tuple[Tensors, int]]

anywhere = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WEIGHTS = st.one_of(st.sampled_from([1, 2, 3, 5, 600, 2**24 + 1, 2**29 - 1]), st.integers(1, 2**29 - 1))
DOUBLES = st.floats(-(2.0**899), 2.0**899, allow_nan=False)
SPECIAL = [0.0, -0.0, 1e38, -1e38, 1e-38, 1e-45, -1e-45, 1.0, 1 + 2.0**-23, 2.0**-60, 65504.0, 0.1, 3.0]


def contribution(folder: Path, tensors: Tensors, weight: int) -> Contribution:
    path = folder / f"update-{len(list(folder.iterdir()))}"
    write_model(path, tensors)
    model = open_model(path)
    return Contribution(model, weight, check_update(model, model.schema))


def contributions(folder: Path, updates: Updates) -> list[Contribution]:
    return [contribution(folder, tensors, weight) for tensors, weight in updates]


def averaged(folder: Path, updates: Updates, kernel: Kernel | None) -> Tensors:
    checked = contributions(folder, updates)
    fedavg(checked, schema=checked[0].model.schema, out=folder / "global", kernel=kernel)
    return load_tensors(folder / "global")


def values_of(draw: st.DrawFn, dtype: str, count: int) -> npt.NDArray[Any]:
    kind = DTYPES[dtype]
    if dtype == "F64":
        return np.array(draw(st.lists(DOUBLES, min_size=count, max_size=count)))
    if dtype in ("F32", "F16", "BF16"):
        most = 3e38 if dtype != "F16" else 65504.0
        any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)
        numbers = st.one_of(any_float, st.sampled_from(SPECIAL), st.floats(-1, 1, width=32))
        drawn = np.clip(draw(st.lists(numbers, min_size=count, max_size=count)), -most, most)
        return drawn.astype(np.float32).astype(kind)
    if dtype == "BOOL":
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    bounds = np.iinfo(kind)
    integers = st.one_of(
        st.integers(int(bounds.min), int(bounds.max)),
        st.integers(0, 100),
        st.sampled_from([int(bounds.min), int(bounds.max)]),
    )
    return np.array(draw(st.lists(integers, min_size=count, max_size=count)), kind)


@st.composite
def rounds(draw: st.DrawFn, dtypes: Sequence[str] = tuple(DTYPES)) -> Updates:
    """Updates of one schema with values of any size, and now and then the negative of the one before."""
    schema = {
        f"t{i}": (draw(st.sampled_from(list(dtypes))), draw(st.integers(0, 5))) for i in range(draw(st.integers(1, 4)))
    }
    updates: Updates = []
    for negated in draw(st.lists(st.booleans(), min_size=1, max_size=5)):
        tensors = {name: values_of(draw, dtype, count) for name, (dtype, count) in schema.items()}
        if updates and negated:
            for name, (dtype, _) in schema.items():
                if "F" in dtype:
                    tensors[name] = -updates[-1][0][name]
        updates.append((tensors, draw(WEIGHTS)))
    return updates


def exactly(number: Any) -> Fraction:
    return Fraction(int(number)) if isinstance(number, (np.integer, np.bool_)) else Fraction(float(number))


def nearest(value: Fraction, dtype: str) -> Any:
    """The value of the dtype nearest to a rational, found among all its neighbours by distance."""
    kind = DTYPES[dtype]
    if dtype not in ("F64", "F32", "F16", "BF16"):
        return kind.type(round(value))
    bits = np.dtype(f"u{kind.itemsize}")
    with np.errstate(over="ignore"):
        start = int(
            np.array([float(abs(value))]).astype(np.float32 if dtype == "BF16" else kind).astype(kind).view(bits)[0]
        )
    around = range(max(start - 2, 0), start + 3)
    candidates = [(b, float(np.array([b], bits).view(kind)[0])) for b in around]
    finite = [(b, Fraction(v)) for b, v in candidates if math.isfinite(v)]
    best, _ = min(finite, key=lambda item: (abs(item[1] - abs(value)), item[0] % 2))
    return -np.array([best], bits).view(kind)[0] if value < 0 else np.array([best], bits).view(kind)[0]


def reference(updates: Updates) -> Tensors:
    """Σ w·x / Σ w by rational arithmetic."""
    weight = sum(w for _, w in updates)
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    result = {}
    for name, first in updates[0][0].items():
        means = [
            sum((exactly(tensors[name][i]) * w for tensors, w in updates), Fraction()) / weight
            for i in range(len(first))
        ]
        result[name] = np.array([nearest(m, kinds[first.dtype]) for m in means], first.dtype)
    return result


@anywhere
@given(rounds())
def test_every_value_is_the_correctly_rounded_mean(
    tmp_path_factory: Any, kernel: Kernel | None, updates: Updates
) -> None:
    result = averaged(tmp_path_factory.mktemp("round"), updates, kernel)
    expected = reference(updates)
    for name, array in expected.items():
        assert result[name].dtype == array.dtype
        assert result[name].tobytes() == array.tobytes(), (name, array.dtype, result[name], array)


@anywhere
@given(rounds(), st.data())
def test_any_split_order_block_and_threads_give_the_same_bits(
    tmp_path_factory: Any, kernel: Kernel | None, updates: Updates, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("round")
    checked = contributions(folder, updates)
    schema = checked[0].model.schema
    flat = fedavg(checked, schema=schema, out=folder / "flat", threads=1, kernel=kernel)
    shuffled = data.draw(st.permutations(checked))
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(checked), max_size=len(checked)))
    block, threads = data.draw(st.sampled_from([1, 2, 3, 7, 65_536])), data.draw(st.integers(1, 3))
    sums, weight = [], 0
    for group in data.draw(st.permutations(sorted(set(groups)))):
        members = [each for each, its in zip(shuffled, groups, strict=True) if its == group]
        path = folder / f"sum-{group}"
        weight += fold(members, path, threads=threads, block=block, kernel=kernel)
        sums.append(open_sum(path, schema))
    again = mean(sums, weight=weight, schema=schema, out=folder / "tree", threads=threads, block=block)
    assert again == flat
    assert (folder / "tree").read_bytes() == (folder / "flat").read_bytes()


@anywhere
@given(rounds(["F32"]))
def test_float32_means_are_within_one_unit_of_fsum(
    tmp_path_factory: Any, kernel: Kernel | None, updates: Updates
) -> None:
    updates = [(tensors, weight % 1000 + 1) for tensors, weight in updates]
    result = averaged(tmp_path_factory.mktemp("round"), updates, kernel)
    weight = sum(w for _, w in updates)
    for name, array in result.items():
        for i, value in enumerate(array):
            expected = np.float32(math.fsum(w * float(t[name][i]) for t, w in updates) / weight)
            assert abs(float(value) - float(expected)) <= float(np.spacing(np.abs(expected)))


def test_a_fold_of_the_same_updates_has_the_same_bytes_whatever_block_and_order(
    tmp_path: Path, kernel: Kernel | None
) -> None:
    rng = np.random.default_rng(1)

    def tensors() -> Tensors:
        spread = rng.standard_normal(40_000) * 2.0 ** rng.integers(-60, 60, 40_000)
        return {
            "wide": spread.astype(np.float32),
            "double": rng.standard_normal((300, 7)),
            "half": rng.standard_normal(5000).astype(np.float16),
            "step": np.array(rng.integers(0, 2**40)),
            **{f"small{i}": rng.standard_normal(i % 4).astype(np.float32) for i in range(200)},
        }

    checked = contributions(tmp_path, [(tensors(), 100 + i) for i in range(6)])
    bodies = set()
    for order, threads, block in ((1, 1, 65_536), (-1, 2, 1000), (1, 3, 4097)):
        fold(checked[::order], tmp_path / "sums", threads=threads, block=block, kernel=kernel)
        bodies.add((tmp_path / "sums").read_bytes())
    assert len(bodies) == 1
    total = open_sum(tmp_path / "sums", checked[0].model.schema)
    assert total.starts[-1] > 2100  # there are tails, so the test is one


def test_blocks_across_the_real_block_size_give_the_exact_mean(tmp_path: Path, kernel: Kernel | None) -> None:
    rng = np.random.default_rng(2)
    updates: Updates = [
        ({"w": rng.standard_normal(200_001).astype(np.float32), "b": rng.standard_normal(3)}, 1 + 7 * i)
        for i in range(3)
    ]
    result = averaged(tmp_path, updates, kernel)
    picked = rng.integers(0, 200_001, 300)
    small = [({"w": t["w"][picked], "b": t["b"]}, w) for t, w in updates]
    expected = reference(small)
    assert result["w"][picked].tobytes() == expected["w"].tobytes()
    assert result["b"].tobytes() == expected["b"].tobytes()
    double = sum(t["w"].astype(np.float64) * w for t, w in updates) / sum(w for _, w in updates)
    assert np.max(np.abs(result["w"] - double)) < 1e-6


def test_updates_in_another_layout_count_the_same(tmp_path: Path, kernel: Kernel | None) -> None:
    tensors = {"a": np.arange(4, dtype=np.float32), "b": np.ones(3, np.float32), "c": np.full(2, 7.0)}
    checked = contribution(tmp_path, tensors, 3)
    header = (
        b'{"b":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},'
        b'"c":{"dtype":"F64","shape":[2],"data_offsets":[12,28]},'
        b'"a":{"dtype":"F32","shape":[4],"data_offsets":[28,44]}}'
    )
    data = b"".join(tensors[name].tobytes() for name in "bca")
    (tmp_path / "other").write_bytes(len(header).to_bytes(8, "little") + header + data)
    model = open_model(tmp_path / "other")
    other = Contribution(model, 3, check_update(model, checked.model.schema))
    digest = fedavg([checked], schema=checked.model.schema, out=tmp_path / "one", kernel=kernel)
    assert fedavg([other], schema=checked.model.schema, out=tmp_path / "two", kernel=kernel) == digest
    assert (tmp_path / "one").read_bytes() == checked.model.path.read_bytes()


# ── averages that are wrong elsewhere ────────────────────────────────────────────────────────────


def test_combiners_with_unequal_clients_are_weighted_by_their_examples(tmp_path: Path, kernel: Kernel | None) -> None:
    one = contribution(tmp_path, {"w": np.zeros(2, np.float32)}, 1)
    nine = [contribution(tmp_path, {"w": np.full(2, 10, np.float32)}, 1) for _ in range(9)]
    weight = fold([one], tmp_path / "left", kernel=kernel) + fold(nine, tmp_path / "right", kernel=kernel)
    schema = one.model.schema
    sums = [open_sum(tmp_path / "left", schema), open_sum(tmp_path / "right", schema)]
    mean(sums, weight=weight, schema=schema, out=tmp_path / "global")
    assert load_tensors(tmp_path / "global")["w"].tolist() == [9.0, 9.0]


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_a_thousand_ones_in_16_bits_average_to_one(tmp_path: Path, kernel: Kernel | None, dtype: str) -> None:
    one = contribution(tmp_path, {"w": np.ones(3, DTYPES[dtype])}, 1)
    fedavg([one] * 1000, schema=one.model.schema, out=tmp_path / "global", kernel=kernel)
    assert load_tensors(tmp_path / "global")["w"].astype(float).tolist() == [1.0, 1.0, 1.0]


def test_an_exception_in_the_fold_never_leaves_a_model(tmp_path: Path, kernel: Kernel | None) -> None:
    checked = contributions(tmp_path, [({"w": np.full(100_000, v)}, 1) for v in (0.0, 10.0, 2.0)])
    checked[2].model.path.unlink()
    before = sorted(tmp_path.iterdir())
    for threads in (1, 2):
        with pytest.raises(FileNotFoundError):
            fedavg(checked, schema=checked[0].model.schema, out=tmp_path / "global", threads=threads, kernel=kernel)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_nan_or_inf_is_refused_and_named(tmp_path: Path, dtype: str, bad: float) -> None:
    array = np.zeros((70_000, 2), DTYPES[dtype])
    array[69_000, 1] = bad
    with pytest.raises(NonFinite) as refusal:
        contribution(tmp_path, {"fine": np.zeros(3, DTYPES[dtype]), "w": array}, 1)
    assert refusal.value.detail == {"tensor": "w", "index": [69_000, 1]}
    assert "'w'" in refusal.value.reason


def test_a_value_too_large_to_be_summed_is_refused_and_the_largest_below_is_not(
    tmp_path: Path, kernel: Kernel | None
) -> None:
    with pytest.raises(NonFinite, match=r"'w' has .* at \[2\]"):
        contribution(tmp_path, {"w": np.array([0.0, 1.0, -(2.0**900)])}, 1)
    largest = np.nextafter(2.0**900, 0)
    result = averaged(tmp_path, [({"w": np.array([largest, -largest])}, 2**29 - 1)] * 3, kernel)
    assert result["w"].tolist() == [largest, -largest]


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.zeros((1, 3), np.float32)},
        {"w": np.zeros(1, np.float32)},
        {"w": np.zeros((), np.float32)},
        {"w": np.zeros(3, np.float64)},
        {"v": np.zeros(3, np.float32)},
        {"w": np.zeros(3, np.float32), "v": np.zeros(3, np.float32)},
    ],
)
def test_an_update_of_another_schema_is_refused_though_it_would_broadcast(
    tmp_path: Path, kernel: Kernel | None, other: Tensors
) -> None:
    right = contribution(tmp_path, {"w": np.zeros(3, np.float32)}, 1)
    wrong = contribution(tmp_path, other, 1)
    with pytest.raises(SchemaMismatch):
        check_update(wrong.model, right.model.schema)
    with pytest.raises(SchemaMismatch):
        fold([right, wrong], tmp_path / "sums", kernel=kernel)
    with pytest.raises(SchemaMismatch):
        fedavg([right], schema=wrong.model.schema, out=tmp_path / "global", kernel=kernel)
    assert not (tmp_path / "sums").exists()
    assert not (tmp_path / "global").exists()


@pytest.mark.parametrize("n", [0, -1, 2**29, True, False, 1.0, "7", None, math.nan])
def test_num_examples_that_are_no_weight_are_refused(tmp_path: Path, kernel: Kernel | None, n: Any) -> None:
    with pytest.raises(BadNumExamples):
        check_num_examples(n)
    fine = contribution(tmp_path, {"w": np.zeros(1)}, 1)
    with pytest.raises(BadNumExamples):
        fold([fine, Contribution(fine.model, n, fine.ranges)], tmp_path / "sums", kernel=kernel)
    assert not (tmp_path / "sums").exists()


@pytest.mark.parametrize("weight", [0, -1, True, 2.0, 2**50])
def test_a_total_weight_that_is_none_is_refused(tmp_path: Path, kernel: Kernel | None, weight: Any) -> None:
    fine = contribution(tmp_path, {"w": np.zeros(1)}, 1)
    fold([fine], tmp_path / "sums", kernel=kernel)
    sums = [open_sum(tmp_path / "sums", fine.model.schema)]
    with pytest.raises(BadNumExamples):
        mean(sums, weight=weight, schema=fine.model.schema, out=tmp_path / "global")


def test_num_examples_from_one_to_the_largest_are_taken() -> None:
    assert [check_num_examples(n) for n in (1, 600, 2**29 - 1)] == [1, 600, 2**29 - 1]


def test_nothing_averages_to_no_model(tmp_path: Path, kernel: Kernel | None) -> None:
    with pytest.raises(QuorumNotMet):
        fold([], tmp_path / "sums", kernel=kernel)
    with pytest.raises(QuorumNotMet):
        mean([], weight=1, schema=Schema.of({"w": np.zeros(1)}), out=tmp_path / "global")
    assert list(tmp_path.iterdir()) == []


def test_more_contributions_than_the_bounds_allow_are_refused(tmp_path: Path, kernel: Kernel | None) -> None:
    one = contribution(tmp_path, {"w": np.zeros(1)}, 1)
    with pytest.raises(ValueError, match="more than 1048576"):
        fold([one] * (2**20 + 1), tmp_path / "sums", kernel=kernel)


def test_an_update_that_lost_its_end_since_it_was_checked_leaves_no_model(
    tmp_path: Path, kernel: Kernel | None
) -> None:
    checked = contribution(tmp_path, {"w": np.ones(1000)}, 1)
    with checked.model.path.open("rb+") as file:
        file.truncate(checked.model.size - 1)
    with pytest.raises(ModelInvalid, match="became shorter"):
        fold([checked], tmp_path / "sums", kernel=kernel)
    assert list(tmp_path.iterdir()) == [checked.model.path]


def test_counters_stay_integers_and_are_rounded_to_nearest(tmp_path: Path, kernel: Kernel | None) -> None:
    result = averaged(tmp_path, [({"n": np.array(n), "on": np.array([True, n > 1])}, 1) for n in (1, 2, 2, 2)], kernel)
    assert (result["n"].dtype, int(result["n"])) == (np.dtype(np.int64), 2)
    assert result["on"].tolist() == [True, True]


def test_integers_at_the_ends_of_64_bits_are_exact(tmp_path: Path, kernel: Kernel | None) -> None:
    high, low = 2**63 - 1, -(2**63)
    result = averaged(
        tmp_path,
        [
            ({"i": np.array([high, low, high, 2**62 + 1])}, 2**29 - 1),
            ({"i": np.array([high, low, low, 2**62 + 2])}, 2**29 - 1),
        ],
        kernel,
    )
    assert result["i"].tolist() == [high, low, 0, 2**62 + 2]  # −1/2 to even, 2^62 + 3/2 to even


def test_subnormal_means_are_rounded_once(tmp_path: Path, kernel: Kernel | None) -> None:
    tiny = float(np.float32(1e-45))
    result = averaged(
        tmp_path,
        [({"w": np.array([3 * tiny, tiny, -tiny], np.float32)}, 1), ({"w": np.zeros(3, np.float32)}, 1)],
        kernel,
    )
    assert result["w"].tolist() == [2 * tiny, 0.0, 0.0]


def test_the_toy_run_of_fedavg_prints_what_its_docstring_says() -> None:
    outcome = doctest.testmod(fedn.aggregation.fedavg)
    assert outcome.attempted > 5
    assert outcome.failed == 0
