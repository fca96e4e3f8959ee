from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedn.aggregation.blocks import BLOCK, Layout, Source
from fedn.aggregation.ranges import NO_VALUE_GRID, NO_VALUE_TOP, scan
from fedn.errors import ModelInvalid, ModelTooLarge
from fedn.model.safetensors import open_model, write_model
from fedn.model.schema import DTYPES, Schema, TensorSpec

anywhere = settings(
    deadline=None, derandomize=True, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ranges_of(path: Path, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, tuple[int, int]]:
    write_model(path, tensors)
    model = open_model(path)
    ranges = scan(model)
    pairs = zip(ranges.tops.tolist(), ranges.grids.tolist(), strict=True)
    return dict(zip([spec.name for spec in model.schema.tensors], pairs, strict=True))


@anywhere
@given(st.sampled_from(["F64", "F32", "F16", "BF16"]), st.lists(st.binary(min_size=8, max_size=8), min_size=1))
def test_every_value_is_below_the_top_and_a_multiple_of_the_grid(
    tmp_path: Path, dtype: str, patterns: list[bytes]
) -> None:
    kind = DTYPES[dtype]
    drawn = np.frombuffer(b"".join(p[: kind.itemsize] for p in patterns), kind)
    with np.errstate(invalid="ignore"):
        values = drawn[np.abs(drawn.astype(np.float64)) < 2.0**900]
    top, grid = ranges_of(tmp_path / "model", {"w": values})["w"]
    exact = [Fraction(float(v)) for v in values]
    assert all(abs(v) < Fraction(2) ** top for v in exact if v)
    assert all((v / Fraction(2) ** grid).denominator == 1 for v in exact if v)
    largest = max(map(abs, exact), default=Fraction())
    if largest >= {"F64": Fraction(2) ** -1022, "F16": Fraction(2) ** -14}.get(dtype, Fraction(2) ** -126):
        assert largest >= Fraction(2) ** (top - 1)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1.0, -3.0, 0.0], "F32", (2, -23)),
        ([1e-45], "F32", (-126, -149)),
        ([2.0**-126], "F32", (-125, -149)),
        ([65504.0], "F16", (16, 5)),
        ([1.0, 2.0**-24], "F16", (1, -24)),
        ([0.0078125], "BF16", (-6, -14)),
        ([5e-324, 2.0**899], "F64", (900, -1074)),
        ([0.0, -0.0], "F32", (NO_VALUE_TOP, NO_VALUE_GRID)),
        ([], "F32", (NO_VALUE_TOP, NO_VALUE_GRID)),
        ([-128, 127], "I8", (8, 0)),
        ([0, 0], "U16", (NO_VALUE_TOP, 0)),
        ([-(2**63)], "I64", (64, 0)),
        ([False, True], "BOOL", (1, 0)),
    ],
)
def test_ranges_of_known_values(tmp_path: Path, values: list[Any], dtype: str, expected: tuple[int, int]) -> None:
    array = np.array(values, DTYPES[dtype])
    assert ranges_of(tmp_path / "model", {"w": array})["w"] == expected


def test_tensors_in_one_block_have_ranges_of_their_own(tmp_path: Path) -> None:
    tensors: dict[str, npt.NDArray[Any]] = {
        f"t{i:03}": np.full(i % 3 + 1, 2.0**i, np.float32) for i in range(-100, 100)
    }
    tensors["empty"] = np.zeros(0, np.float32)
    found = ranges_of(tmp_path / "model", tensors)
    assert all(found[f"t{i:03}"] == (i + 1, i - 23) for i in range(-100, 100))
    assert found["empty"] == (NO_VALUE_TOP, NO_VALUE_GRID)


def test_a_tensor_of_many_blocks_has_one_range(tmp_path: Path) -> None:
    values = np.ones(3 * BLOCK + 5, np.float32)
    values[2 * BLOCK + 1], values[-1] = 2.0**40, 2.0**-40
    assert ranges_of(tmp_path / "model", {"a": np.ones(7, np.float32), "w": values})["w"] == (41, -63)


def test_bytes_that_are_no_booleans_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {"mask": np.array([0, 1, 2], np.uint8).view(np.bool_)})
    with pytest.raises(ModelInvalid, match="'mask' is BOOL"):
        scan(open_model(tmp_path / "model"))


@anywhere
@given(st.lists(st.tuples(st.sampled_from(["F32", "F64", "I8"]), st.integers(0, 9)), min_size=1), st.integers(1, 12))
def test_blocks_cover_every_element_once_and_stay_within_a_dtype(specs: list[tuple[str, int]], size: int) -> None:
    schema = Schema(tuple(TensorSpec(str(i), dtype, (count,)) for i, (dtype, count) in enumerate(specs)))
    layout = Layout(schema)
    end = 0
    for block in layout.blocks(size):
        assert block.start == end
        assert 0 < len(block) <= size
        end = block.stop
        rows = layout.tensors[block.first : block.last]
        assert {schema.tensors[row].dtype for row in rows} == {block.dtype}
        assert layout.starts[block.first] <= block.start < layout.starts[block.first + 1]
        assert layout.starts[block.last - 1] < block.stop <= layout.starts[block.last]
        assert layout.edges(block)[0] == 0
    assert end == sum(spec.count for spec in schema.tensors)


def test_blocks_are_read_from_any_layout(tmp_path: Path) -> None:
    header = (
        b'{"b":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},'
        b'"a":{"dtype":"I8","shape":[2],"data_offsets":[3,5]},'
        b'"c":{"dtype":"I8","shape":[2],"data_offsets":[5,7]}}'
    )
    path = tmp_path / "model"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes([3, 4, 5, 1, 2, 6, 7]))
    model = open_model(path)
    layout = Layout(model.schema)
    source, buffer = Source(model, layout), np.empty(7, np.uint8)
    for size in range(1, 8):
        read = [source.read(block, buffer).tolist() for block in layout.blocks(size)]
        assert [value for part in read for value in part] == [1, 2, 3, 4, 5, 6, 7]


def test_a_tensor_of_more_elements_than_32_bits_count_is_too_large() -> None:
    with pytest.raises(ModelTooLarge, match="more than 4294967295 elements"):
        Layout(Schema((TensorSpec("w", "I8", (2**16, 2**16)),)))
    assert math.prod((2**16, 2**16 - 1)) == Layout(Schema((TensorSpec("w", "I8", (2**16, 2**16 - 1)),))).starts[-1]
