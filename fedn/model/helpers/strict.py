"""A model file is loaded into a model of the same names, shapes and dtypes, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedn.errors import SchemaMismatch
from fedn.model.safetensors import open_model, read_tensors


class Tensor(Protocol):
    """What NumPy's and PyTorch's tensors have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        ...

    @property
    def dtype(self) -> object:
        """The type of the elements; its str() names it."""
        ...


@dataclass(frozen=True, slots=True)
class Outline:
    """The shape and dtype of a tensor, without its data."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def fill(
    path: str | PathLike[str], expected: Mapping[str, Tensor], put: Callable[[str, npt.NDArray[Any]], object]
) -> None:
    """`put` a model file's tensors into a model, one at a time; none if they are not those it has.

    Raises `SchemaMismatch`, ModelInvalid, ModelTooLarge.
    """
    model = open_model(Path(path))
    require_same({spec.name: Outline(spec.shape, spec.numpy) for spec in model.schema.tensors}, expected)
    for name, array in read_tensors(model):
        put(name, array)


def require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise `SchemaMismatch`, which names the first difference of a file's tensors from a model's."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise SchemaMismatch(f"the model has a tensor {name!r}, the file has none")
        if name not in expected:
            raise SchemaMismatch(f"the file has a tensor {name!r}, the model has none")
        in_file, in_model = describe(found[name]), describe(expected[name])
        if in_file != in_model:
            raise SchemaMismatch(f"tensor {name!r} is {in_file} in the file, {in_model} in the model")


def describe(tensor: Tensor) -> str:
    """A tensor's dtype and shape, as in ``float32 [200, 784]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
