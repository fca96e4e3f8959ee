"""The compiled kernel: the fold of a block in one pass over memory where numpy needs five, and the same bits.

It is optional. ``kernel.c`` is compiled when fedn is built (`hatch_build.py`) and called with ctypes, which lets other
threads run meanwhile. `load` gives no library that another version left behind, or whose sums on this machine are not
numpy's; without a kernel numpy folds, slower.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.aggregation.exact import Elements, Expansion, Floats, anchor, finished
from fedn.errors import ModelInvalid

LIBRARY = Path(__file__).with_name("libkernel.so")
FILES_AT_ONCE = 16  # of which a chunk is in the cache
_INTERFACE = 1  # what `fedn_kernel` says of a library that fits this module
_DTYPES = {"F32": 0, "BF16": 1, "F16": 2}
_ENDED = -1
_POINTERS, _DOUBLES = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_double)


@dataclass(frozen=True, slots=True)
class Piece:
    """The elements of a block in an update's file, where they begin, and the update's weight."""

    path: Path
    offset: int
    weight: int


class Kernel:
    """A loaded library."""

    def __init__(self, path: Path = LIBRARY) -> None:
        try:
            library = ctypes.CDLL(str(path), use_errno=True)
            interface = library.fedn_kernel()
            self.chunk = int(library.fedn_chunk())
            self._fold: Any = library.fedn_fold
        except (OSError, AttributeError) as error:
            raise ImportError(str(error)) from None
        if interface != _INTERFACE:
            raise ImportError(f"{path} is of another version")
        self._fold.argtypes = [
            *(ctypes.c_int, ctypes.c_int, _POINTERS, _DOUBLES, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
            *(ctypes.c_size_t, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int64), _DOUBLES),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self._fold.restype = ctypes.c_int64

    @staticmethod
    def knows(dtype: str) -> bool:
        """Whether it folds values of this dtype; those that need several terms it does not."""
        return dtype in _DTYPES

    def fold(
        self,
        pieces: Sequence[Piece],
        rows: Sequence[Floats],
        anchors: Sequence[float],
        *,
        loose: Elements,
        scratch: npt.NDArray[np.uint8],
        dtype: str,
    ) -> int:
        """Sum pieces to the swept limbs of every sum, in ``rows``; returns how many elements are put in ``loose``.

        Rows are those of the anchored levels and the plain one. A `chunk` of ``scratch`` is for each file that is
        open at once. Raises ModelInvalid, OSError.
        """
        addresses = (ctypes.c_void_p * len(rows))(*(row.ctypes.data for row in rows))
        bases = (ctypes.c_double * len(anchors))(*anchors)
        places = scratch.ctypes.data, loose.ctypes.data
        found = 0
        at_once = len(scratch) // self.chunk
        for start in range(0, len(pieces), at_once):
            group = pieces[start : start + at_once]
            begins, ends = start == 0, start + len(group) == len(pieces)
            with _opened(group) as files:
                offsets = (ctypes.c_int64 * len(group))(*(piece.offset for piece in group))
                weights = (ctypes.c_double * len(group))(*(piece.weight for piece in group))
                what = (_DTYPES[dtype], len(anchors), addresses, bases, len(rows[0]), begins, ends)
                found = self._fold(*what, len(group), files, offsets, weights, *places)
            if found == _ENDED:
                raise ModelInvalid("the file became shorter while it was read")
            if found < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return found


class KernelSums:
    """Sums of up to ``size`` elements with a kernel; its memory is used again for every block.

    It has as many ``files`` open at once.
    """

    def __init__(self, kernel: Kernel, size: int, *, files: int = FILES_AT_ONCE) -> None:
        self._kernel = kernel
        self._size = size
        self._rows: list[Floats] = []
        self._loose = np.empty(size, np.int64)
        self._scratch = np.empty(files * kernel.chunk, np.uint8)
        self.knows = kernel.knows

    def fold(self, pieces: Sequence[Piece], size: int, grids: Sequence[int], *, dtype: str) -> Expansion:
        """The expansion (`fedn.aggregation.exact.expand`) of the sum of each of ``size`` elements of the pieces."""
        while len(self._rows) <= len(grids):
            self._rows.append(np.empty(self._size))
        rows = [row[:size] for row in self._rows[: len(grids) + 1]]
        anchors = [anchor(grid) for grid in grids]
        found = self._kernel.fold(pieces, rows, anchors, loose=self._loose, scratch=self._scratch, dtype=dtype)
        return finished(rows, self._loose[:found])


@contextmanager
def _opened(pieces: Sequence[Piece]) -> Iterator[ctypes.Array[ctypes.c_int]]:
    files = (ctypes.c_int * len(pieces))()
    opened = 0
    try:
        for piece in pieces:
            files[opened] = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
            opened += 1
        yield files
    finally:
        for file in files[:opened]:
            os.close(file)
