"""The helper of NumPy arrays: the contract, every dtype and layout, and arrays that are filled in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fedn.model.helpers import get
from fedn.model.helpers import numpy as helper
from test.unit.helper_suite import DTYPES, Case, HelperSuite, arrays_of, same

Arrays = dict[str, npt.NDArray[Any]]


def model(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "weights": rng.standard_normal((3, 4), np.float32),
        "steps": np.array(seed),
        "none": np.zeros((0, 2)),
        "columns": np.asfortranarray(rng.standard_normal((2, 5))),
    }


def but(**other: npt.ArrayLike) -> Arrays:
    return model(2) | {name: np.asarray(array) for name, array in other.items()}


def state(arrays: Arrays) -> Sequence[npt.NDArray[Any]]:
    return [arrays[name] for name in sorted(arrays)]


def step(arrays: Arrays) -> None:
    arrays["weights"] += np.float32(0.5)


CASES = [
    Case(
        "arrays",
        get("numpy"),
        model,
        lambda: model(2),
        state,
        step,
        [
            (
                lambda: but(weights=np.ones((4, 3), np.float32)),
                "tensor 'weights' is float32 [3, 4] in the file, float32 [4, 3] in the model",
            ),
            (
                lambda: but(weights=np.ones((1, 3, 4), np.float32)),
                "tensor 'weights' is float32 [3, 4] in the file, float32 [1, 3, 4] in the model",
            ),
            (
                lambda: but(weights=np.ones((3, 4))),
                "tensor 'weights' is float32 [3, 4] in the file, float64 [3, 4] in the model",
            ),
            (lambda: but(v=1), "the model has a tensor 'v', the file has none"),
            (lambda: {"weights": model(2)["weights"]}, "the file has a tensor 'columns', the model has none"),
            (dict, "the file has a tensor 'columns', the model has none"),
        ],
    )
]


class TestNumpy(HelperSuite):
    cases = CASES


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_dtype_and_layout_come_back_with_the_same_bits(tmp_path: Path, dtype: str) -> None:
    arrays = arrays_of(dtype)
    helper.save(tmp_path / "m", arrays)
    loaded = helper.load(tmp_path / "m")
    assert loaded.keys() == arrays.keys()
    assert same(state(loaded), state(arrays))
    blank = {name: np.zeros_like(array) for name, array in arrays.items()}
    assert same(state(helper.load(tmp_path / "m", into=blank)), state(arrays))


def test_loaded_arrays_can_be_trained_in_place(tmp_path: Path) -> None:
    helper.save(tmp_path / "m", {"w": np.ones(3, np.float32)})
    weights = helper.load(tmp_path / "m")["w"]
    weights += np.float32(1)
    assert weights.tolist() == [2, 2, 2]


def test_load_into_fills_the_arrays_in_place_views_too(tmp_path: Path) -> None:
    helper.save(tmp_path / "m", {"w": np.arange(4.0), "n": np.int64(7)})
    whole = np.zeros(8)
    into = {"w": whole[::2], "n": np.zeros((), np.int64)}
    helper.load(tmp_path / "m", into=into)
    assert whole.tolist() == [0, 0, 1, 0, 2, 0, 3, 0]
    assert into["n"] == 7


def test_the_order_of_names_does_not_matter(tmp_path: Path) -> None:
    first = helper.save(tmp_path / "1", {"a": np.zeros(2), "b": np.ones(3)})
    assert helper.save(tmp_path / "2", {"b": np.ones(3), "a": np.zeros(2)}) == first
