"""Model files: safetensors blobs, read with limits and written in canonical form.

Canonical form is what the reference library writes without metadata: tensors by dtype and name, compact JSON,
spaces up to a multiple of 8. Equal tensors have equal bytes, so the sha256 of the bytes names a model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.errors import ModelInvalid, ModelTooLarge
from fedn.model.header import header_bytes, parse_header
from fedn.model.schema import Limits, Schema
from fedn.model.whole import whole_file

Array = npt.NDArray[Any]

DEFAULT_LIMITS = Limits()
_CHUNK = 2**20  # bytes held at a time when a file is streamed


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A safetensors file whose header was checked; the data has not been looked at.

    ``offsets`` say where each tensor of ``schema`` begins, in bytes from ``data_start``.
    """

    path: Path
    schema: Schema
    size: int
    data_start: int
    offsets: tuple[int, ...]


def open_model(
    path: Path, *, limits: Limits = DEFAULT_LIMITS, size: int | None = None, schema: Schema | None = None
) -> ModelFile:
    """Read and check the header of a model file, and nothing else of it.

    ``size`` is the announced size in bytes. ``schema`` is one that the file probably has: if so the result
    shares it, and a thousand open updates take the memory of one schema. Raises ModelInvalid, ModelTooLarge.
    """
    with path.open("rb") as file:
        actual = os.fstat(file.fileno()).st_size
        if size is not None and actual != size:
            raise ModelInvalid(f"the file has {actual} bytes, but {size} were announced")
        if actual > limits.max_bytes:
            raise ModelTooLarge(f"the file has {actual} bytes, more than the {limits.max_bytes} allowed")
        length = int.from_bytes(file.read(8), "little")
        if actual < 8 or length > actual - 8:
            raise ModelInvalid(f"the file has {actual} bytes, too few for its header")
        if length > limits.max_header_bytes:
            raise ModelTooLarge(f"the header has {length} bytes, more than the {limits.max_header_bytes} allowed")
        found, offsets, data = parse_header(file.read(length), limits=limits)
    data_start = 8 + length
    if data_start + data != actual:
        raise ModelInvalid(f"the file has {actual} bytes, but its header describes {data_start + data}")
    if found == schema:
        found = schema
    return ModelFile(path, found, actual, data_start, found.offsets if offsets == found.offsets else offsets)


def canonical_header(schema: Schema) -> bytes:
    """Everything of a canonical file that comes before the data."""
    return header_bytes(schema.tensors)


def write_model(path: Path, tensors: Mapping[str, Array], *, synced: bool = True) -> str:
    """Write named arrays in canonical form; returns the sha256 of the bytes, in hex.

    Raises ModelInvalid for a dtype or name that a model cannot hold.
    """
    return write_tensors(path, Schema.of(tensors), tensors.__getitem__, synced=synced)


def write_tensors(path: Path, schema: Schema, tensor: Callable[[str], Array], *, synced: bool = True) -> str:
    """Write a model whose tensors are asked for by name, one at a time; returns the sha256 of the bytes, in hex."""
    header = canonical_header(schema)
    digest = hashlib.sha256(header)
    with whole_file(path, synced=synced) as file:
        file.write(header)
        for spec in schema.tensors:
            data = np.ascontiguousarray(tensor(spec.name), dtype=spec.numpy).reshape(-1).view(np.uint8)
            file.write(data.data)
            digest.update(data.data)
    return digest.hexdigest()


def load_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a model file by name, in memory of their own. Raises ModelInvalid, ModelTooLarge."""
    return dict(read_tensors(open_model(path)))


def read_tensors(model: ModelFile) -> Iterator[tuple[str, Array]]:
    """The tensors with their names, one at a time, each in memory of its own."""
    with model.path.open("rb", buffering=0) as file:
        for spec, offset in zip(model.schema.tensors, model.offsets, strict=True):
            data = _aligned(spec.nbytes)
            read_exactly(file.fileno(), data, model.data_start + offset)
            yield spec.name, data.view(spec.numpy).reshape(spec.shape)


def _aligned(nbytes: int) -> npt.NDArray[np.uint8]:
    """Empty memory at a multiple of 64: from there TensorFlow reads without a copy of its own."""
    memory = np.empty(nbytes + 63, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + nbytes]


def canonicalise(source: Path, destination: Path) -> str:
    """Write the model at ``source`` in canonical form to ``destination``; returns the sha256 in hex.

    Streams: memory does not grow with the model. Raises ModelInvalid, ModelTooLarge.
    """
    model = open_model(source)
    header = canonical_header(model.schema)
    digest = hashlib.sha256(header)
    chunk = np.empty(_CHUNK, np.uint8)
    with source.open("rb", buffering=0) as data, whole_file(destination) as file:
        file.write(header)
        for spec, offset in zip(model.schema.tensors, model.offsets, strict=True):
            for begin in range(0, spec.nbytes, _CHUNK):
                piece = chunk[: min(_CHUNK, spec.nbytes - begin)]
                read_exactly(data.fileno(), piece, model.data_start + offset + begin)
                file.write(piece.data)
                digest.update(piece.data)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_exactly(descriptor: int, buffer: npt.NDArray[np.uint8], offset: int) -> None:
    """Fill ``buffer`` from a file at ``offset``; ModelInvalid when the file ends before."""
    view = buffer.data
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise ModelInvalid("the file became shorter while it was read")
        done += count
