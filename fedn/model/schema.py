"""The shape of a model: which tensors it has, of which dtype and shape, in canonical order.

A dtype goes by its safetensors name (``F32``); bfloat16 is known to numpy through ml_dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from fedn.errors import ModelInvalid

# In the canonical order of the data: the strictest alignment first, as the reference library writes them.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("<f2"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_RANK = {name: rank for rank, name in enumerate(DTYPES)}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model file may be at most; checked before anything is allocated for it."""

    max_bytes: int = 2**40  # the roles set their own, lower ones where a model comes in
    max_header_bytes: int = 16 * 2**20
    max_tensors: int = 100_000
    max_dims: int = 16
    max_name: int = 1024  # characters


class Shaped(Protocol):
    """An array, or what tells as much of one as a schema holds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor's name, dtype (its safetensors name) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.name == "__metadata__":
            raise ModelInvalid("'__metadata__' cannot be the name of a tensor")
        try:
            self.name.encode()
        except UnicodeEncodeError:
            raise ModelInvalid(f"tensor name {self.name!a} is not valid Unicode") from None
        if self.dtype not in DTYPES:
            raise ModelInvalid(f"tensor {self.name!r} has dtype {self.dtype[:20]!r}, which FEDn does not know")
        if any(size < 0 for size in self.shape):
            raise ModelInvalid(f"tensor {self.name!r} has a negative size in its shape {list(self.shape)}")

    @property
    def count(self) -> int:
        """Number of elements; 1 for a tensor without dimensions."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.count * DTYPES[self.dtype].itemsize

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype."""
        return DTYPES[self.dtype]

    @classmethod
    def of(cls, name: str, array: Shaped) -> TensorSpec:
        """The spec of an array; ModelInvalid for a dtype that a model cannot hold."""
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise ModelInvalid(f"tensor {name!r} has dtype {array.dtype}, which a model cannot hold")
        return cls(name, dtype, array.shape)


@dataclass(frozen=True)
class Schema:
    """The tensors of a model, kept in canonical order whatever order they are given in."""

    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.tensors, key=lambda spec: (_RANK[spec.dtype], spec.name)))
        object.__setattr__(self, "tensors", ordered)
        if not ordered:
            raise ModelInvalid("the model holds no tensor")
        if len(self._by_name) != len(ordered):
            raise ModelInvalid("two tensors have the same name")

    @classmethod
    def of(cls, tensors: Mapping[str, Shaped]) -> Schema:
        """The schema of named arrays."""
        return cls(tuple(TensorSpec.of(name, array) for name, array in tensors.items()))

    @cached_property
    def _by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.tensors}

    @property
    def nbytes(self) -> int:
        """Bytes of all data, without the header."""
        return sum(spec.nbytes for spec in self.tensors)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each tensor begins in the data of a canonical file, in bytes."""
        return tuple(running(spec.nbytes for spec in self.tensors))[:-1]

    def difference(self, other: Schema) -> str | None:
        """The first thing in which ``other`` is not what this schema wants, in words; None if nothing."""
        if self.tensors == other.tensors:
            return None
        missing = self._by_name.keys() - other._by_name.keys()
        if missing:
            return f"tensor {min(missing)!r} is missing"
        extra = other._by_name.keys() - self._by_name.keys()
        if extra:
            return f"tensor {min(extra)!r} is not in the model"
        wanted, got = next(
            (spec, other._by_name[name]) for name, spec in self._by_name.items() if other._by_name[name] != spec
        )
        if wanted.shape != got.shape:
            return f"tensor {wanted.name!r} has shape {list(got.shape)} instead of {list(wanted.shape)}"
        return f"tensor {wanted.name!r} has dtype {got.dtype} instead of {wanted.dtype}"


def running(sizes: Iterable[int]) -> list[int]:
    """Running totals that begin with 0: one more than there are sizes."""
    totals = [0]
    for size in sizes:
        totals.append(totals[-1] + size)
    return totals
