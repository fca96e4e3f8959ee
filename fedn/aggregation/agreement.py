"""The kernel of this installation, if there is one that gives numpy's bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Accumulator, Expansion, grids_of_levels
from fedn.aggregation.kernel import LIBRARY, Kernel, KernelSums, Piece
from fedn.aggregation.ranges import FLOATS
from fedn.aggregation.terms import MOST_PIECES, WEIGHT_BITS, terms_of
from fedn.errors import ModelInvalid
from fedn.model.schema import DTYPES

_WEIGHTS = (1, 3, 2**29 - 1)
_ELEMENTS = 1031  # strips, registers, and some more


def load(path: Path = LIBRARY) -> Kernel:
    """The kernel, after it has summed a few thousand values of every kind as numpy does; some milliseconds.

    Raises ImportError, which says why there is none.
    """
    kernel = Kernel(path)
    try:
        agrees = _agrees(kernel)
    except (OSError, ModelInvalid) as error:
        raise ImportError(f"{path} cannot be tried: {error}") from None
    if not agrees:
        raise ImportError(f"{path} does not give the sums that numpy gives")
    return kernel


def _agrees(kernel: Kernel) -> bool:
    for dtype in filter(kernel.knows, FLOATS):
        values = [_of_every_kind(dtype, seed) for seed in range(len(_WEIGHTS))]
        form = FLOATS[dtype]
        top = (form.infinity >> form.precision - 1) + form.grid + form.precision - 2
        bound = top + WEIGHT_BITS + len(_WEIGHTS).bit_length()
        grids = grids_of_levels(bound=bound, grid=form.grid, terms=MOST_PIECES * len(_WEIGHTS))
        for levels in range(len(grids) + 1):  # too few of them lose bits, and must lose the same
            if not _equal(_by_kernel(kernel, values, grids[:levels], dtype), _by_numpy(values, grids[:levels], dtype)):
                return False
    return True


def _of_every_kind(dtype: str, seed: int) -> npt.NDArray[Any]:
    """Finite values of every size: normal and subnormal numbers, zeros of both signs."""
    form = FLOATS[dtype]
    sign = 1 << (8 * form.bits.itemsize - 1)
    random = np.random.default_rng(seed)
    bits = random.integers(0, form.infinity, _ELEMENTS) | sign * random.integers(0, 2, _ELEMENTS)
    bits[::7] &= sign | ((1 << form.precision - 1) - 1)  # subnormal
    bits[::31] &= sign
    return bits.astype(form.bits).view(DTYPES[dtype])


def _by_kernel(kernel: Kernel, values: list[npt.NDArray[Any]], grids: tuple[int, ...], dtype: str) -> Expansion:
    sums = KernelSums(kernel, _ELEMENTS)
    with _in_a_file(values) as path:
        pieces = [Piece(path, values[0].nbytes * place, weight) for place, weight in enumerate(_WEIGHTS)]
        return sums.fold(pieces, _ELEMENTS, grids, dtype=dtype)


@contextmanager
def _in_a_file(values: list[npt.NDArray[Any]]) -> Iterator[Path]:
    """A file of the arrays, one after the other, that has no name."""
    with TemporaryFile() as file:
        file.write(b"".join(array.tobytes() for array in values))
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _by_numpy(values: list[npt.NDArray[Any]], grids: tuple[int, ...], dtype: str) -> Expansion:
    sums = Accumulator(_ELEMENTS)
    sums.begin(_ELEMENTS, grids)
    out, scratch = np.empty(_ELEMENTS), np.empty(_ELEMENTS)
    for array, weight in zip(values, _WEIGHTS, strict=True):
        for terms in terms_of(array, weight, dtype=dtype, top=0, out=out, scratch=scratch):
            sums.add(terms)
    return sums.result()


def _equal(one: Expansion, other: Expansion) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
