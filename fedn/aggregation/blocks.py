"""A model as blocks of elements: how arithmetic reads it, in flat memory and on several threads.

The elements of a model are numbered over all its tensors, in canonical order. A block is a range of these
numbers within tensors of one dtype: a thousand small tensors make one block, and a large one makes many. In a
canonical file the bytes of a block are contiguous, so it takes one positioned read.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedn.errors import ModelTooLarge
from fedn.model.safetensors import ModelFile, read_exactly
from fedn.model.schema import DTYPES, Schema

BLOCK = 65_536  # elements: the working set of a fold stays in a core's own cache
_MOST_ELEMENTS = 2**32 - 1  # of one tensor: a combiner model counts them in 32 bits


@dataclass(frozen=True, slots=True)
class Block:
    """Elements ``start`` to ``stop`` of a model, which lie in the layout's rows ``first`` to ``last``."""

    dtype: str
    start: int
    stop: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.stop - self.start


class Layout:
    """Where the tensors of a schema are in the numbering of its elements. Rows are the tensors that hold any.

    ``starts[r]`` is the number of row r's first element (the last, that of all), ``tensors[r]`` its place in
    the schema.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.tensors = [place for place, spec in enumerate(schema.tensors) if spec.count]
        specs = [schema.tensors[place] for place in self.tensors]
        for spec in specs:
            if spec.count > _MOST_ELEMENTS:
                raise ModelTooLarge(f"tensor {spec.name!r} has more than {_MOST_ELEMENTS} elements")
        self.starts = np.cumsum([0, *(spec.count for spec in specs)], dtype=np.int64)
        self.widths = np.array([spec.numpy.itemsize for spec in specs], np.int64)
        self.offsets = np.array([schema.offsets[place] for place in self.tensors], np.int64)
        self._dtypes = [spec.dtype for spec in specs]

    def blocks(self, size: int = BLOCK, *, by_dtype: Callable[[str], int] | None = None) -> Iterator[Block]:
        """All elements in blocks of at most ``size`` elements, or of as many as ``by_dtype`` says."""
        first = 0
        while first < len(self._dtypes):
            dtype = self._dtypes[first]
            last = first + self._dtypes[first:].count(dtype)
            yield from self._run(dtype, first, last, by_dtype(dtype) if by_dtype else size)
            first = last

    def _run(self, dtype: str, first: int, last: int, size: int) -> Iterator[Block]:
        end = int(self.starts[last])
        for start in range(int(self.starts[first]), end, size):
            stop = min(start + size, end)
            yield Block(
                dtype,
                start,
                stop,
                int(np.searchsorted(self.starts, start, side="right")) - 1,
                int(np.searchsorted(self.starts, stop, side="left")),
            )

    def edges(self, block: Block) -> npt.NDArray[np.int64]:
        """Where in the block each of its rows begins; the first of them is always 0."""
        edges = self.starts[block.first : block.last] - block.start
        edges[0] = 0
        return edges

    def rows_of(self, elements: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The row that each of these elements is in."""
        return np.searchsorted(self.starts, elements, side="right") - 1


class Source:
    """A model file, read by blocks. It holds no open file, so that a fold of many needs no descriptors.

    Its F32 tensors may be in ``wire``, another float type (`fedn.model.narrow`); then blocks of F32 are in that.
    """

    def __init__(self, model: ModelFile, layout: Layout, *, wire: str = "F32") -> None:
        self._path = model.path
        self._layout = layout
        self._wire = wire
        self._data_start = model.data_start
        self._canonical = model.offsets == model.schema.offsets
        self._begins = layout.offsets  # shared by all that are canonical
        if wire != "F32":
            at = {spec.name: offset for spec, offset in zip(model.schema.tensors, model.offsets, strict=True)}
            self._begins = np.array([at[layout.schema.tensors[place].name] for place in layout.tensors], np.int64)
        elif not self._canonical:
            self._begins = np.array([model.offsets[place] for place in layout.tensors], np.int64)

    def dtype(self, block: Block) -> str:
        """In which dtype the block's elements are read."""
        return self._wire if block.dtype == "F32" else block.dtype

    def read(self, block: Block, buffer: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The block's elements in the file's dtype, in the first bytes of ``buffer``."""
        dtype = DTYPES[self.dtype(block)]
        data = buffer[: len(block) * dtype.itemsize]
        with descriptor_of(self._path) as descriptor:
            for begin, offset, size in self._spans(block, dtype.itemsize):
                read_exactly(descriptor, data[begin : begin + size], self._data_start + offset)
        return data.view(dtype)

    def place(self, block: Block) -> tuple[Path, int] | None:
        """The file, and where in it the block's elements begin, if they are in one piece."""
        spans = iter(self._spans(block, DTYPES[self.dtype(block)].itemsize))
        _, offset, _ = next(spans)
        return None if next(spans, None) else (self._path, self._data_start + offset)

    def _spans(self, block: Block, width: int) -> Iterator[tuple[int, int, int]]:
        """Contiguous parts: where they begin in the block and in the file's data, and how long; bytes."""
        layout = self._layout
        first, last = block.first, block.last - 1
        between = (layout.starts[last] - layout.starts[first]) * width
        if self._canonical and self._begins[last] - self._begins[first] == between:  # no other tensor among them
            start = int(self._begins[first] + (block.start - layout.starts[first]) * width)
            yield 0, start, len(block) * width
            return
        for row in range(block.first, block.last):
            start, stop = (
                max(block.start, int(layout.starts[row])),
                min(block.stop, int(layout.starts[row + 1])),
            )
            inside = (start - int(layout.starts[row])) * width
            yield (start - block.start) * width, int(self._begins[row]) + inside, (stop - start) * width


@contextmanager
def descriptor_of(path: Path) -> Iterator[int]:
    """A descriptor to read ``path`` from, for as long as the block lasts."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_exactly(descriptor: int, data: npt.NDArray[np.uint8], offset: int) -> None:
    """Write all of ``data`` to a file at ``offset``."""
    view = data.data
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def threads_for(blocks: Sequence[Block], threads: int | None) -> int:
    """How many threads work on the blocks: one per usable core if None, and no more than there are blocks."""
    wanted = threads if threads is not None else len(os.sched_getaffinity(0))
    return max(1, min(wanted, len(blocks)))


def for_each(blocks: Sequence[Block], worker: Callable[[], Callable[[Block], None]], *, threads: int | None) -> None:
    """Run every block through the function that ``worker`` makes: one of its own for each thread.

    A thread takes the next block when it is done with one, so none waits for another that the machine holds up.
    ``threads`` is one per usable core if None. The first exception is raised when all threads have ended.
    """
    wanted = threads_for(blocks, threads)
    left = deque(blocks)

    def work() -> None:
        step = worker()
        while True:
            try:
                block = left.popleft()
            except IndexError:
                return
            try:
                step(block)
            except BaseException:
                left.clear()  # the others need not go on
                raise

    if wanted == 1:
        work()
        return
    with ThreadPoolExecutor(wanted, thread_name_prefix="fold") as pool:
        for ended in [pool.submit(work) for _ in range(wanted)]:
            ended.result()
