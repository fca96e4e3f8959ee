from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.errors import ModelInvalid, ModelTooLarge, NonFinite, SchemaMismatch
from fedn.model.safetensors import load_tensors, open_model, write_model
from fedn.model.schema import Schema, TensorSpec

Tensors = dict[str, npt.NDArray[Any]]
SCHEMA = Schema((TensorSpec("w", "F32", (4,)), TensorSpec("z", "F32", (0, 2)), TensorSpec("s", "F32", ())))


def folded(folder: Path) -> Path:
    """A combiner model of which w[1] has one tail, and w[2] two."""
    values = [[1.0, 1.0, 1e30, 0.0], [2.0, 2.0**-60, 1.0, 0.0], [3.0, 0.0, 1e-30, 0.0]]
    checked = []
    for number, row in enumerate(values):
        path = folder / f"update-{number}"
        empty = np.zeros((0, 2), np.float32)
        write_model(path, {"w": np.array(row, np.float32), "z": empty, "s": np.array(7, np.float32)})
        model = open_model(path)
        checked.append(Contribution(model, 3, check_update(model, SCHEMA)))
    fold(checked, folder / "sums")
    return folder / "sums"


def test_a_combiner_model_holds_heads_and_the_few_tails_that_there_are(tmp_path: Path) -> None:
    path = folded(tmp_path)
    tensors = load_tensors(path)
    assert tensors.keys() == {"h:w", "h:z", "h:s", "t:w", "i:w"}
    assert tensors["h:z"].shape == (0, 2)
    assert tensors["i:w"].tolist() == [1, 2, 2]
    assert tensors["t:w"].tolist()[:2] == [3 * 2.0**-60, 3.0]
    total = open_sum(path, SCHEMA, size=path.stat().st_size)
    tiny, huge = Fraction(float(np.float32(1e-30))), Fraction(float(np.float32(1e30)))
    heads = np.empty(2)
    total.heads(2, heads)  # s comes first, so w[1] and w[2]
    elements, tails = total.tails(2, 4)
    assert elements.tolist() == [2, 3, 3]
    exact = [Fraction(float(part)) for part in (*heads, *tails)]
    assert exact[0] + exact[2] == 3 + 3 * Fraction(1, 2**60)
    assert exact[1] + exact[3] + exact[4] == 3 * (huge + 1 + tiny)


def test_the_length_of_the_header_depends_on_the_schema_only(tmp_path: Path) -> None:
    path = folded(tmp_path)
    start = open_model(path).data_start
    update = open_model(tmp_path / "update-0")
    fold([Contribution(update, 1, check_update(update, SCHEMA))], tmp_path / "one")
    assert open_model(tmp_path / "one").data_start == start
    assert load_tensors(tmp_path / "one").keys() == {"h:w", "h:z", "h:s"}


def drop(name: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.pop(name)


def put(name: str, values: Any, dtype: Any = np.float64) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: np.array(values, dtype)})


FORGED = {
    "head missing": (drop("h:s"), "'h:s' is not as it must be"),
    "head of another shape": (put("h:w", [[1.0] * 4]), "'h:w' is not"),
    "head of another dtype": (put("h:w", [1.0] * 4, np.float32), "'h:w' is not"),
    "tensor that does not belong": (put("x:w", [1.0]), "it has 'x:w'"),
    "tails without elements": (drop("i:w"), "'i:w' is not"),
    "elements without tails": (drop("t:w"), "it has 'i:w'"),
    "more tails than elements": (put("t:w", [1.0]), "'i:w' is not"),
    "tails of an empty tensor": (put("t:z", [1.0]), "it has 't:z'"),
    "element beyond the tensor": (put("i:w", [1, 2, 4], np.uint32), "does not have"),
    "elements out of order": (put("i:w", [2, 1, 2], np.uint32), "not in the order"),
    "tail that overlaps its head": (put("t:w", [1.0, 1.0, 1e-30]), "overlaps"),
    "tail that overlaps the one before": (put("t:w", [2.0**-60, 3.0, 3.0]), "overlaps"),
    "tail of zero": (put("t:w", [2.0**-60, 3.0, 0.0]), "overlaps"),
    "tail of NaN": (put("t:w", [2.0**-60, 3.0, math.nan]), "overlaps"),
    "tail of infinity": (put("t:w", [2.0**-60, math.inf, 1e-30]), "overlaps"),
    "head of NaN": (put("h:w", [1.0, math.nan, 3e30, 0.0]), "NaN, Inf"),
    "head of infinity": (put("h:w", [1.0, 3.0, -math.inf, 0.0]), "NaN, Inf"),
    "head too large": (put("h:s", 2.0**950), "too large"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_combiner_model_is_refused(case: str, tmp_path: Path) -> None:
    change, reason = FORGED[case]
    tensors = load_tensors(folded(tmp_path))
    write_model(tmp_path / "fine", tensors)
    open_sum(tmp_path / "fine", SCHEMA)
    change(tensors)
    write_model(tmp_path / "forged", tensors)
    with pytest.raises((ModelInvalid, NonFinite), match=reason):
        open_sum(tmp_path / "forged", SCHEMA)


def test_a_flood_of_tails_for_one_element_is_refused(tmp_path: Path) -> None:
    tensors = load_tensors(folded(tmp_path))
    tensors["i:w"] = np.full(100_000, 2, np.uint32)
    tensors["t:w"] = np.full(100_000, 1.0)
    write_model(tmp_path / "forged", tensors)
    with pytest.raises(ModelInvalid, match="more tails than any sum needs"):
        open_sum(tmp_path / "forged", SCHEMA)


@pytest.mark.parametrize("swap", [False, True])
def test_the_order_of_elements_is_checked_to_the_end(tmp_path: Path, swap: bool) -> None:
    count = 70_000
    schema = Schema((TensorSpec("w", "F32", (count,)),))
    elements = np.arange(count, dtype=np.uint32)
    if swap:
        elements[-2:] = elements[-1:-3:-1]
    write_model(tmp_path / "sums", {"h:w": np.ones(count), "t:w": np.full(count, 2.0**-60), "i:w": elements})
    if not swap:
        assert open_sum(tmp_path / "sums", schema).starts.tolist() == [0, count]
        return
    with pytest.raises(ModelInvalid, match="not in the order"):
        open_sum(tmp_path / "sums", schema)


def test_a_combiner_model_of_another_schema_or_size_is_refused(tmp_path: Path) -> None:
    path = folded(tmp_path)
    with pytest.raises(ModelInvalid):
        open_sum(path, Schema((TensorSpec("w", "F32", (4,)),)))
    with pytest.raises(ModelInvalid, match="were announced"):
        open_sum(path, SCHEMA, size=1)
    other = Schema((TensorSpec("w", "F16", (4,)), *SCHEMA.tensors[:1], *SCHEMA.tensors[2:]))
    with pytest.raises(SchemaMismatch):
        mean([open_sum(path, SCHEMA)], weight=9, schema=other, out=tmp_path / "global")


def test_a_header_longer_than_a_combiner_models_can_be_is_too_large(tmp_path: Path) -> None:
    content = folded(tmp_path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = (length + 8).to_bytes(8, "little") + content[8 : 8 + length] + b" " * 8 + content[8 + length :]
    (tmp_path / "forged").write_bytes(padded)
    with pytest.raises(ModelTooLarge, match="the header has"):
        open_sum(tmp_path / "forged", SCHEMA)


@pytest.mark.parametrize(
    ("dtype", "head"),
    [("F32", 1e39), ("F32", -1e39), ("F16", 70_000.0), ("BF16", 1e39), ("I8", 128.0), ("U8", -1.0), ("I64", 2.0**63)],
)
def test_sums_whose_mean_the_dtype_cannot_hold_leave_no_model(tmp_path: Path, dtype: str, head: float) -> None:
    schema = Schema((TensorSpec("w", dtype, (1,)),))
    write_model(tmp_path / "sums", {"h:w": np.array([head])})
    with pytest.raises(ModelInvalid, match=f"beyond {dtype}"):
        mean([open_sum(tmp_path / "sums", schema)], weight=1, schema=schema, out=tmp_path / "global")
    assert not (tmp_path / "global").exists()
    if head > 0:
        mean([open_sum(tmp_path / "sums", schema)], weight=10**6, schema=schema, out=tmp_path / "global")


@pytest.mark.parametrize(("nudge", "mean_value"), [(2.0**-140, 1 + 2.0**-23), (0.0, 1.0), (-(2.0**-140), 1.0)])
def test_what_two_float64_cannot_hold_still_decides_a_tie(tmp_path: Path, nudge: float, mean_value: float) -> None:
    schema = Schema((TensorSpec("w", "F32", (2,)),))
    sums = []
    for number, head in enumerate([1.0, 2.0**-24, 2.0**-80, nudge, -(2.0**-80)]):
        write_model(tmp_path / f"{number}", {"h:w": np.array([head, 0.25])})
        sums.append(open_sum(tmp_path / f"{number}", schema))
    tail = {"h:w": np.array([1.0, 0.0]), "t:w": np.array([2.0**-80, 2.0**-160]), "i:w": np.zeros(2, np.uint32)}
    write_model(tmp_path / "with tail", tail)
    write_model(tmp_path / "against", {"h:w": np.array([-1.0 - 2.0**-24, 0.0])})
    more = [open_sum(tmp_path / name, schema) for name in ("with tail", "against")]
    mean(sums, weight=1, schema=schema, out=tmp_path / "global")
    assert load_tensors(tmp_path / "global")["w"].tolist() == [mean_value, 1.25]
    mean([*sums, *more], weight=1, schema=schema, out=tmp_path / "global")
    exact = Fraction(1) + Fraction(1, 2**80) + Fraction(1, 2**160) + Fraction(nudge)
    assert load_tensors(tmp_path / "global")["w"].tolist() == [float(np.float32(float(exact))), 1.25]


def test_tails_that_cancel_leave_the_smallest_to_decide(tmp_path: Path) -> None:
    schema = Schema((TensorSpec("w", "F32", (1,)),))
    tails, twice = np.array([2.0**-80, 2.0**-140]), np.zeros(2, np.uint32)
    write_model(tmp_path / "left", {"h:w": np.array([1.0]), "t:w": tails, "i:w": twice})
    write_model(tmp_path / "right", {"h:w": np.array([2.0**-24]), "t:w": -tails[:1], "i:w": twice[:1]})
    sums = [open_sum(tmp_path / name, schema) for name in ("left", "right")]
    mean(sums, weight=1, schema=schema, out=tmp_path / "global")
    assert load_tensors(tmp_path / "global")["w"].tolist() == [1 + 2.0**-23]


def test_sums_that_cancel_leave_what_no_pair_could_hold(tmp_path: Path) -> None:
    schema = Schema((TensorSpec("w", "F32", (1,)),))
    sums = []
    for number, head in enumerate([2.0**120, 2.0**60, 1.0, -(2.0**120), -(2.0**60)]):
        write_model(tmp_path / f"{number}", {"h:w": np.array([head])})
        sums.append(open_sum(tmp_path / f"{number}", schema))
    mean(sums, weight=4, schema=schema, out=tmp_path / "global")
    assert load_tensors(tmp_path / "global")["w"].tolist() == [0.25]


def test_a_mean_of_zeros_has_no_sign(tmp_path: Path) -> None:
    schema = Schema((TensorSpec("w", "F32", (1,)),))
    write_model(tmp_path / "sums", {"h:w": np.array([-0.0])})
    mean([open_sum(tmp_path / "sums", schema)], weight=4, schema=schema, out=tmp_path / "global")
    assert load_tensors(tmp_path / "global")["w"].tobytes() == bytes(4)


def test_tails_across_blocks_are_found_wherever_blocks_begin(tmp_path: Path) -> None:
    count = 200_000
    schema = Schema((TensorSpec("a", "F32", (70_000,)), TensorSpec("b", "F32", (count,))))
    rng = np.random.default_rng(3)
    where = np.sort(rng.choice(count, 500, replace=False)).astype(np.uint32)
    heads = rng.integers(1, 100, count).astype(np.float64)
    tensors = {"h:a": np.ones(70_000), "h:b": heads, "t:b": np.full(500, 2.0**-60), "i:b": where}
    write_model(tmp_path / "sums", tensors)
    total = open_sum(tmp_path / "sums", schema)
    found = []
    for start in range(0, 70_000 + count, 9_999):
        elements, values = total.tails(start, min(start + 9_999, 70_000 + count))
        assert values.tolist() == [2.0**-60] * len(elements)
        found += elements.tolist()
    assert found == (where.astype(np.int64) + 70_000).tolist()
