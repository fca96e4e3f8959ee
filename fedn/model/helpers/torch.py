"""PyTorch modules: a model file holds exactly the tensors of ``module.state_dict()``.

A training script's two lines::

    helper.load(model_in, into=module)
    helper.save(model_out, module, num_examples=len(images), metrics={"loss": loss})
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch

from fedn.errors import ModelInvalid
from fedn.model.helpers.metadata import Metrics, save_metadata, save_metrics
from fedn.model.helpers.strict import require_same
from fedn.model.safetensors import load_tensors, write_model

__all__ = ["load", "save", "save_metrics"]

Array = npt.NDArray[Any]
Module = TypeVar("Module", bound=torch.nn.Module)


@overload
def load(path: str | PathLike[str]) -> dict[str, torch.Tensor]: ...


@overload
def load(path: str | PathLike[str], into: Module) -> Module: ...


def load(path: str | PathLike[str], into: torch.nn.Module | None = None) -> dict[str, torch.Tensor] | torch.nn.Module:
    """The model file's tensors by name, on the CPU.

    With `into`, they are copied into that module, on whatever device it is, and the module is
    returned; raises `SchemaMismatch`, and leaves it as it was, unless names, shapes and dtypes are
    the same: buffers such as BatchNorm's counters included, shared weights under each of their names.
    """
    tensors = {name: _to_tensor(array) for name, array in load_tensors(Path(path)).items()}
    if into is None:
        return tensors
    state = into.state_dict()
    require_same(tensors, _only_tensors(state))
    state.update(tensors)  # the module's own dict: it carries the versions that load_state_dict reads
    into.load_state_dict(state)
    return into


def save(
    path: str | PathLike[str],
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    *,
    num_examples: int | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Write a module, or its state dict, as a model file and return the file's sha256.

    With `num_examples`, ``<path>-metadata`` is written too. Raises `ModelInvalid` for state that is
    no tensor.
    """
    save_metadata(path, num_examples=num_examples, metrics=metrics)
    state = model.state_dict() if isinstance(model, torch.nn.Module) else model
    arrays = {name: to_array(tensor) for name, tensor in _only_tensors(state).items()}
    return write_model(Path(path), arrays, synced=False)


def _only_tensors(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ModelInvalid(f"{name!r} is a {type(value).__name__}; a model file holds tensors only")
    return state


def to_array(tensor: torch.Tensor) -> Array:
    """The tensor's own memory as an array, if it is on the CPU."""
    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:  # NumPy has none of its own: the bits change hands as int16
        return plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return plain.numpy()


def _to_tensor(array: Array) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
