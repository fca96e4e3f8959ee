"""float32 models in a 16-bit float type for the wire, and back: docs/encoding.md.

Down is one rounding, to nearest even; up is exact. Integers, float64 and 16-bit floats of the model's own stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.errors import BeyondWireDtype
from fedn.model.safetensors import ModelFile, canonical_header, read_exactly
from fedn.model.schema import Schema, TensorSpec
from fedn.model.whole import whole_file

FLOAT_TYPES: Mapping[str, str] = {"bfloat16": "BF16", "float16": "F16"}  # by the names that a session is given
_INFINITY = {"BF16": 0x7F80, "F16": 0x7C00}
_BLOCK = 2**18  # elements held at a time


def narrowed(schema: Schema, dtype: str) -> Schema:
    """The schema with its F32 tensors in ``dtype``; itself for F32."""
    if dtype == "F32":
        return schema
    return Schema(tuple(replace(spec, dtype=dtype) if spec.dtype == "F32" else spec for spec in schema.tensors))


def widened(schema: Schema, dtype: str, native: Collection[str]) -> Schema:
    """The schema with its tensors of ``dtype`` in F32, but those of these names."""
    of_their_own = set(native)
    return Schema(
        tuple(
            replace(spec, dtype="F32") if spec.dtype == dtype and spec.name not in of_their_own else spec
            for spec in schema.tensors
        )
    )


def native(schema: Schema, dtype: str) -> list[str]:
    """The tensors that have this dtype before any is narrowed."""
    return [spec.name for spec in schema.tensors if spec.dtype == dtype]


def convert(model: ModelFile, schema: Schema, destination: Path, *, synced: bool = True) -> str:
    """Write the model in canonical form with the dtypes of ``schema``, which has its names and shapes.

    Returns the sha256 of the bytes in hex. In blocks: memory does not grow with the model. NaN and Inf stay what they
    are. Raises BeyondWireDtype, naming tensor and element, for a value that would become Inf.
    """
    placed = {spec.name: (spec, at) for spec, at in zip(model.schema.tensors, model.offsets, strict=True)}
    header = canonical_header(schema)
    digest = hashlib.sha256(header)
    room = np.empty(8 * _BLOCK, np.uint8)
    with model.path.open("rb", buffering=0) as source, whole_file(destination, synced=synced) as file:
        file.write(header)
        for spec in schema.tensors:
            given, offset = placed[spec.name]
            width = given.numpy.itemsize
            for begin in range(0, spec.count, _BLOCK):
                block = room[: width * min(_BLOCK, spec.count - begin)]
                read_exactly(source.fileno(), block, model.data_start + offset + width * begin)
                data = _cast(block.view(given.numpy), spec, begin).view(np.uint8).data
                file.write(data)
                digest.update(data)
    return digest.hexdigest()


def _cast(values: npt.NDArray[Any], spec: TensorSpec, begin: int) -> npt.NDArray[Any]:
    """The values in the tensor's dtype; ``begin`` is the number of the first within the tensor."""
    if values.dtype == spec.numpy:
        return values
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cast = values.astype(spec.numpy)
    if spec.dtype in _INFINITY:
        infinite = cast.view(np.uint16) & 0x7FFF == _INFINITY[spec.dtype]
        if infinite.any():
            _refuse(values, np.flatnonzero(infinite), spec, begin)
    return cast


def _refuse(values: npt.NDArray[Any], infinite: npt.NDArray[np.intp], spec: TensorSpec, begin: int) -> None:
    """Raise for the first that was finite."""
    finite = infinite[np.isfinite(values[infinite])]
    if len(finite):
        place = int(finite[0])
        index = [int(i) for i in np.unravel_index(begin + place, spec.shape)] if spec.shape else []
        name = {dtype: name for name, dtype in FLOAT_TYPES.items()}[spec.dtype]
        raise BeyondWireDtype(
            f"tensor {spec.name!r} has {float(values[place]):g} at {index}, which {name} cannot hold",
            tensor=spec.name,
            index=index,
        )
