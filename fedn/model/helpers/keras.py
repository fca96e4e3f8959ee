"""Keras 3 models on any of its backends: functional, sequential and subclassed.

A training script's two lines::

    helper.load(model_in, into=model)
    helper.save(model_out, model, num_examples=len(images), metrics={"loss": loss})

A model file holds ``model.weights``: trainable or not, so BatchNorm's moving statistics and integer
counters too, each in its own dtype, a shared one once. What belongs to a client stays there: the
optimizer's state, the metrics' and the states of random generators (``Dropout``).

A tensor's name is its position in ``model.weights`` and what its layer calls it, ``4.moving_mean``:
the names of the layers themselves (``dense_7``) count how many the process has made before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

import keras
import numpy as np
import numpy.typing as npt

from fedn.errors import ModelInvalid
from fedn.model.helpers.metadata import Metrics, save_metadata, save_metrics
from fedn.model.helpers.strict import Outline, fill
from fedn.model.safetensors import load_tensors, write_model, write_tensors
from fedn.model.schema import Schema

__all__ = ["load", "save", "save_metrics"]

Array = npt.NDArray[Any]
Model = TypeVar("Model", bound=keras.Model)

_COUNTED = re.compile(r"_\d+$")  # Keras numbers what its maker gave no name: variable_3


@overload
def load(path: str | PathLike[str]) -> dict[str, Array]: ...


@overload
def load(path: str | PathLike[str], into: Model) -> Model: ...


def load(path: str | PathLike[str], into: keras.Model | None = None) -> dict[str, Array] | keras.Model:
    """The model file's arrays by name; bfloat16 is ``ml_dtypes.bfloat16``.

    With `into`, they are copied into that model's weights and the model is returned. Raises
    `ModelInvalid` for a model that is not built, and `SchemaMismatch` unless names, shapes and dtypes
    are the same; either leaves `into` as it was.
    """
    if into is None:
        return load_tensors(Path(path))
    weights = _weights(into)
    fill(path, _outlines(weights), lambda name, array: weights[name].assign(array))
    for layer in _layers(into):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights
    return into


def save(
    path: str | PathLike[str],
    model: keras.Model | Mapping[str, npt.ArrayLike],
    *,
    num_examples: int | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Write a model, or arrays as `load` gives them, as a model file and return the file's sha256.

    With `num_examples`, ``<path>-metadata`` is written too. Raises `ModelInvalid` for a model that is
    not built.
    """
    save_metadata(path, num_examples=num_examples, metrics=metrics)
    if not isinstance(model, keras.Model):
        return write_model(Path(path), {name: np.asarray(array) for name, array in model.items()}, synced=False)
    weights = _weights(model)
    schema = Schema.of(_outlines(weights))
    return write_tensors(Path(path), schema, lambda name: _to_array(weights[name]), synced=False)


def _weights(model: keras.Model) -> dict[str, Any]:
    """The model's Keras variables by name; `ModelInvalid` unless it has made them all."""
    for layer in _layers(model):
        if not layer.built and _makes_weights(layer):
            raise ModelInvalid(
                f"layer {layer.name!r} of the model {model.name!r} is not built, so it has no weights yet: "
                "build the model first, or call it once on a batch of examples"
            )
    return {f"{i}.{_COUNTED.sub('', variable.name)}": variable for i, variable in enumerate(model.weights)}


def _makes_weights(layer: Any) -> bool:
    return isinstance(layer, keras.Model) or type(layer).build is not keras.layers.Layer.build


def _layers(model: keras.Model) -> list[Any]:
    """The model and all layers in it, however deep; Keras shows only those right below a model."""
    return list(model._flatten_layers())


def _outlines(weights: Mapping[str, Any]) -> dict[str, Outline]:
    return {name: Outline(tuple(variable.shape), np.dtype(variable.dtype)) for name, variable in weights.items()}


def _to_array(variable: Any) -> Array:
    """The variable's data. (Keras converts by ``np.array(tensor)``, of which NumPy 2 warns.)"""
    value = variable.value
    if keras.backend.backend() == "torch":
        from fedn.model.helpers.torch import to_array  # only where torch is there

        return to_array(value)
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
