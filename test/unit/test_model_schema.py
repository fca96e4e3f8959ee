from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from fedn.errors import ModelInvalid
from fedn.model.schema import Schema, TensorSpec


def test_schema_is_in_canonical_order_whatever_order_it_is_given_in() -> None:
    specs = (TensorSpec("b", "F32", (2,)), TensorSpec("z", "F64", ()), TensorSpec("a", "F32", (0, 3)))
    schema = Schema(specs)
    assert [spec.name for spec in schema.tensors] == ["z", "a", "b"]
    assert schema == Schema(specs[::-1])
    assert schema.offsets == (0, 8, 8)
    assert schema.nbytes == 16


def test_counts_and_bytes_of_scalars_and_empty_tensors() -> None:
    assert (TensorSpec("s", "BF16", ()).count, TensorSpec("s", "BF16", ()).nbytes) == (1, 2)
    assert TensorSpec("e", "I64", (0, 7)).nbytes == 0
    assert TensorSpec("s", "BF16", ()).numpy == np.dtype(ml_dtypes.bfloat16)


def test_schema_of_arrays_knows_dtypes_in_any_byte_order() -> None:
    schema = Schema.of({"x": np.zeros(3, ">f4"), "y": np.zeros((), np.bool_)})
    assert schema.tensors == (TensorSpec("x", "F32", (3,)), TensorSpec("y", "BOOL", ()))


@pytest.mark.parametrize("array", [np.zeros(2, np.complex64), np.array(["a"]), np.array([object()])])
def test_arrays_that_a_model_cannot_hold_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ModelInvalid, match="which a model cannot hold"):
        Schema.of({"x": array})


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "reason"),
    [
        ("__metadata__", "F32", (1,), "cannot be the name"),
        ("\ud800", "F32", (1,), "not valid Unicode"),
        ("x", "F8_E4M3", (1,), "does not know"),
        ("x", "F32", (2, -1), "negative size"),
    ],
)
def test_impossible_tensors_are_refused(name: str, dtype: str, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ModelInvalid, match=reason):
        TensorSpec(name, dtype, shape)


def test_schema_without_tensors_or_with_one_name_twice_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="no tensor"):
        Schema(())
    with pytest.raises(ModelInvalid, match="same name"):
        Schema((TensorSpec("x", "F32", (1,)), TensorSpec("x", "F64", (1,))))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ((TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "I64", ())), None),
        ((TensorSpec("a", "F32", (2, 3)),), "tensor 'b' is missing"),
        (
            (TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "I64", ()), TensorSpec("c", "F32", (1,))),
            "tensor 'c' is not in the model",
        ),
        (
            (TensorSpec("a", "F32", (3, 2)), TensorSpec("b", "I64", ())),
            "tensor 'a' has shape [3, 2] instead of [2, 3]",
        ),
        ((TensorSpec("a", "F16", (2, 3)), TensorSpec("b", "I64", ())), "tensor 'a' has dtype F16 instead of F32"),
        ((TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "I64", (1,))), "tensor 'b' has shape [1] instead of []"),
    ],
)
def test_difference_of_schemas_is_said_in_words(other: tuple[TensorSpec, ...], difference: str | None) -> None:
    schema = Schema((TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "I64", ())))
    assert schema.difference(Schema(other)) == difference
