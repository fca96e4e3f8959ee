"""float32 in a 16-bit type and back: bit for bit what PyTorch makes of it, and never Inf of a finite value."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fedn.errors import BeyondWireDtype
from fedn.model.narrow import FLOAT_TYPES, convert, narrowed, native, widened
from fedn.model.safetensors import ModelFile, digest_of, load_tensors, open_model, write_model
from fedn.model.schema import DTYPES

TORCH = {"F16": torch.float16, "BF16": torch.bfloat16}
LARGEST = {"F16": 65504.0, "BF16": float(torch.finfo(torch.bfloat16).max)}
dtypes = pytest.mark.parametrize("dtype", FLOAT_TYPES.values())


def model_of(folder: Path, **tensors: npt.NDArray[Any]) -> ModelFile:
    write_model(folder / "model", tensors)
    return open_model(folder / "model")


def rounded(folder: Path, values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.uint16]:
    """The bits of the values after `convert`."""
    model = model_of(folder, w=values)
    convert(model, narrowed(model.schema, dtype), folder / "narrow")
    return load_tensors(folder / "narrow")["w"].view(np.uint16)


def as_torch(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.uint16]:
    return torch.from_numpy(values).to(TORCH[dtype]).view(torch.uint16).numpy()


def finite(dtype: str) -> npt.NDArray[np.float32]:
    """Every finite value of the type; ml_dtypes warns of what NaN is cast to."""
    bits = np.arange(2**16, dtype=np.uint16)
    infinity = 0x7C00 if dtype == "F16" else 0x7F80
    return bits[bits & 0x7FFF < infinity].view(DTYPES[dtype]).astype(np.float32)


def interesting(dtype: str) -> npt.NDArray[np.float32]:
    """Every value of the type, subnormals too, what lies halfway between two, and the float32 on both sides of it."""
    values = np.unique(finite(dtype).astype(np.float64))
    halfway = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    down, up = (np.nextafter(halfway, np.float32(to)) for to in (-np.inf, np.inf))
    signs = np.array([0.0, -0.0, 1e-45, -1e-45], np.float32)
    return np.concatenate([values.astype(np.float32), halfway, down, up, signs])


@dtypes
def test_rounds_to_nearest_even_as_pytorch_does(tmp_path: Path, dtype: str) -> None:
    patterns = np.random.default_rng(1).integers(0, 2**32, 2**20, dtype=np.uint32).view(np.float32)
    values = np.concatenate([interesting(dtype), patterns])
    values = values[np.abs(values) <= LARGEST[dtype]]  # and no NaN
    np.testing.assert_array_equal(rounded(tmp_path, values, dtype), as_torch(values, dtype))


@dtypes
def test_nan_and_inf_stay_what_they_are_for_the_combiner_to_refuse(tmp_path: Path, dtype: str) -> None:
    quiet_signalling = np.array([0x7FC00000, 0x7F800001, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    values = np.concatenate([quiet_signalling, np.array([np.inf, -np.inf], np.float32)])
    found = rounded(tmp_path, values, dtype).view(DTYPES[dtype]).astype(np.float32)
    assert np.isnan(found[:4]).all()
    assert found[4:].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(("dtype", "most"), [("F16", 65519.996), ("BF16", 3.3961773e38)])
def test_the_largest_that_rounds_down_passes_and_the_next_is_refused_by_name(
    tmp_path: Path, dtype: str, most: float
) -> None:
    highest = np.float32(most)
    largest = rounded(tmp_path, np.array([highest, -highest], np.float32), dtype).view(DTYPES[dtype])
    assert np.abs(largest.astype(np.float64)).tolist() == [LARGEST[dtype]] * 2
    beyond = np.zeros((2, 300_000), np.float32)  # more than one block
    beyond[1, 7] = -np.nextafter(highest, np.float32(np.inf))
    beyond[1, 6] = np.inf  # is none of ours
    model = model_of(tmp_path, fine=np.ones(3, np.float32), w=beyond)
    with pytest.raises(BeyondWireDtype, match=r"tensor 'w' has -.* at \[1, 7\], which b?float16 cannot hold") as caught:
        convert(model, narrowed(model.schema, dtype), tmp_path / "never")
    assert caught.value.detail == {"tensor": "w", "index": [1, 7]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "narrow"]


@dtypes
def test_up_is_exact_and_finds_every_tensor_again(tmp_path: Path, dtype: str) -> None:
    """Also in a model that has tensors of the type of its own, and others between them in canonical order."""
    tensors = {
        "b.wide": finite(dtype),
        "a.own": np.array([1.5, -2.0], DTYPES[dtype]),
        "c.own": np.array(0.25, DTYPES[dtype]),
        "other": np.array([3.0], DTYPES["BF16" if dtype == "F16" else "F16"]),
        "steps": np.array([2**40], np.int64),
        "small": np.array([-7], np.int32),
        "double": np.array([1 / 3], np.float64),
        "none": np.zeros((0, 4), np.float32),
        "scalar": np.array(0.5, np.float32),
        "true": np.array([True, False]),
    }
    model = model_of(tmp_path, **tensors)
    digest = convert(model, narrowed(model.schema, dtype), tmp_path / "narrow")
    assert digest == digest_of(tmp_path / "narrow")
    narrow, own = open_model(tmp_path / "narrow"), native(model.schema, dtype)
    assert own == ["a.own", "c.own"]
    assert narrow.schema == narrowed(model.schema, dtype)
    back = convert(narrow, widened(narrow.schema, dtype, own), tmp_path / "wide", synced=False)
    assert back == digest_of(tmp_path / "model")


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """I10"""
    model = model_of(tmp_path, w=np.ones(2**23, np.float32))  # 32 MiB
    schema = narrowed(model.schema, "BF16")
    tracemalloc.start()
    try:
        convert(model, schema, tmp_path / "narrow", synced=False)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
