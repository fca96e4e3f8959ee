"""Models that are a dict of NumPy arrays.

A training script's two lines::

    model = helper.load(model_in)
    helper.save(model_out, model, num_examples=len(images), metrics={"loss": loss})
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fedn.model.helpers.metadata import Metrics, save_metadata, save_metrics
from fedn.model.helpers.strict import fill
from fedn.model.safetensors import load_tensors, write_model

__all__ = ["load", "save", "save_metrics"]

Array = npt.NDArray[Any]
Arrays = TypeVar("Arrays", bound=Mapping[str, Array])


@overload
def load(path: str | PathLike[str]) -> dict[str, Array]: ...


@overload
def load(path: str | PathLike[str], into: Arrays) -> Arrays: ...


def load(path: str | PathLike[str], into: Mapping[str, Array] | None = None) -> Mapping[str, Array]:
    """The model file's arrays by name, writable; bfloat16 is ``ml_dtypes.bfloat16``.

    With `into`, its arrays are overwritten in place and `into` is returned; raises `SchemaMismatch`,
    and leaves it as it was, unless names, shapes and dtypes are the same.
    """
    if into is None:
        return load_tensors(Path(path))
    fill(path, into, lambda name, array: np.copyto(into[name], array))
    return into


def save(
    path: str | PathLike[str],
    model: Mapping[str, npt.ArrayLike],
    *,
    num_examples: int | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Write a model file and return its sha256; with `num_examples`, ``<path>-metadata`` too."""
    save_metadata(path, num_examples=num_examples, metrics=metrics)
    return write_model(Path(path), {name: np.asarray(value) for name, value in model.items()}, synced=False)
