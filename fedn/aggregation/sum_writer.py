"""Writes a combiner model whose blocks come in any order and from any thread."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np

from fedn.aggregation.blocks import Block, Layout, write_exactly
from fedn.aggregation.exact import Elements, Floats
from fedn.aggregation.sums import entries_of, header_length
from fedn.model.header import header_bytes
from fedn.model.safetensors import read_exactly
from fedn.model.whole import whole_file


@contextmanager
def writing_sum(out: Path, layout: Layout) -> Iterator[SumWriter]:
    """A combiner model that is at ``out`` when the block has ended well, and not before.

    It is not synced: it can be made again from the updates, which are durable.
    """
    with whole_file(out, synced=False) as file, tempfile.TemporaryFile(dir=out.parent) as spool:
        writer = SumWriter(layout, file.fileno(), spool.fileno())
        yield writer
        writer.finish()


class SumWriter:
    """Heads go to their place at once; tails wait in a spool until all are known."""

    def __init__(self, layout: Layout, descriptor: int, spool: int) -> None:
        self._layout = layout
        self._descriptor = descriptor
        self._spool = spool
        self._header = header_length(layout.schema)
        self._spooled = 0
        self._places: dict[int, tuple[int, int]] = {}
        self._counts = np.zeros(len(layout.tensors), np.int64)
        self._lock = Lock()

    def put(self, block: Block, heads: Floats, within: Elements, tails: Floats) -> None:
        """Write a block: its heads, and the tails with the element of each, counted from the block's first."""
        write_exactly(self._descriptor, heads.view(np.uint8), 8 + self._header + 8 * block.start)
        if not len(tails):
            return
        elements = within + block.start
        rows = self._layout.rows_of(elements)
        inside = (elements - self._layout.starts[rows]).astype(np.uint32)
        with self._lock:
            place = self._spooled
            self._spooled += 12 * len(tails)
            self._places[block.start] = (place, len(tails))
            np.add.at(self._counts, rows, 1)
        write_exactly(self._spool, tails.view(np.uint8), place)
        write_exactly(self._spool, inside.view(np.uint8), place + 8 * len(tails))

    def finish(self) -> None:
        """Write the header, and the tails in the order of their elements."""
        counts = [0] * len(self._layout.schema.tensors)
        for row, place in enumerate(self._layout.tensors):
            counts[place] = int(self._counts[row])
        header = header_bytes(entries_of(self._layout.schema, counts), length=self._header)
        write_exactly(self._descriptor, np.frombuffer(header, np.uint8), 0)
        tail_at: int = len(header) + 8 * int(self._layout.starts[-1])
        index_at = tail_at + 8 * sum(counts)
        for _, (start, count) in sorted(self._places.items()):
            kept = np.empty(12 * count, np.uint8)
            read_exactly(self._spool, kept, start)
            write_exactly(self._descriptor, kept[: 8 * count], tail_at)
            write_exactly(self._descriptor, kept[8 * count :], index_at)
            tail_at += 8 * count
            index_at += 4 * count
