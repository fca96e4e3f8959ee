"""For projects written for FEDn 0.33: a model is a list of arrays. Only the line that imports it changes::

    from fedn.model.helpers.v0 import get_helper, save_metadata, save_metrics

    helper = get_helper("numpyhelper")
    helper.save(model.get_weights(), out_path)
    model.set_weights(helper.load(in_path))

The arrays are kept in FEDn's model file under the names 0, 1, 2 …; new projects use a framework's own helper, which
knows names, and says which one does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.errors import BadNumExamples, HelperUnknown, OutputInvalid, SchemaMismatch
from fedn.model.helpers.metadata import count, finite
from fedn.model.safetensors import load_tensors, write_model

__all__ = ["NumpyHelper", "get_helper", "load_metadata", "save_metadata", "save_metrics"]

Array = npt.NDArray[Any]
File = str | PathLike[str]


class NumpyHelper:
    """Lists of arrays."""

    name = "numpyhelper"

    def save(self, weights: Iterable[npt.ArrayLike], path: File) -> str:
        """Write the arrays to just this path, in order; return the path."""
        arrays = {str(i): np.asarray(array) for i, array in enumerate(weights)}
        write_model(Path(path), arrays, synced=False)
        return fspath(path)

    def load(self, path: File) -> list[Array]:
        """The arrays in the order in which they were saved. Raises `SchemaMismatch` for another kind of model."""
        arrays = load_tensors(Path(path))
        try:
            return [arrays[str(i)] for i in range(len(arrays))]
        except KeyError as missing:
            raise SchemaMismatch(
                f"the file holds no tensor {missing}: it is no list of arrays as numpyhelper saves one"
            ) from None


def get_helper(helper_module_name: str) -> NumpyHelper:
    """The helper of that name: ``numpyhelper`` is the only one. Raises `HelperUnknown`."""
    if helper_module_name != NumpyHelper.name:
        raise HelperUnknown(f"there is no helper {helper_module_name!r} of FEDn 0.33 here, only {NumpyHelper.name!r}")
    return NumpyHelper()


def save_metadata(metadata: Mapping[str, Any], filename: File) -> None:
    """Write ``<filename>-metadata``: `num_examples`, and what else is worth a note; numbers are shown as metrics.

    Raises `BadNumExamples`, and `OutputInvalid` for what JSON cannot hold.
    """
    if "num_examples" not in metadata:
        raise BadNumExamples("the metadata has no num_examples")
    _write(_metadata_file(filename), {**metadata, "num_examples": count(metadata["num_examples"])})


def load_metadata(filename: File) -> dict[str, Any]:
    """What `save_metadata` wrote."""
    found: dict[str, Any] = json.loads(_metadata_file(filename).read_text(encoding="utf-8"))
    return found


def save_metrics(metrics: Mapping[str, Any], filename: File) -> None:
    """Write the result of a validation. Raises `OutputInvalid`, and `BadNumExamples` for a `num_examples` in it."""
    given = {"num_examples": count(metrics["num_examples"])} if "num_examples" in metrics else {}
    _write(Path(filename), dict(metrics) | given)


def _metadata_file(filename: File) -> Path:
    return Path(fspath(filename) + "-metadata")


def _write(path: Path, document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(value, float | np.number):
            finite(name, value)
    try:
        text = json.dumps(document, default=_plain)
    except TypeError as error:
        raise OutputInvalid(f"{path.name} cannot be written as JSON: {error}") from None
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """A NumPy, torch or TensorFlow number as Python's."""
    if np.ndim(value) != 0 or not hasattr(value, "__float__"):
        raise TypeError(f"{value!r} is no number")
    return np.asarray(value).item()
