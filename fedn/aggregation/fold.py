"""Folding updates: the exact Σ w·x of many, and what an update must be to be folded.

Federated averaging (McMahan et al. 2017, algorithm 1) is Σ w·x / Σ w with w = num_examples. Sums here have
no rounding at all, so their order, their grouping and the number of threads cannot show in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedn.aggregation.blocks import BLOCK, Block, Layout, Source, for_each, threads_for
from fedn.aggregation.exact import Accumulator, Expansion
from fedn.aggregation.kernel import FILES_AT_ONCE, Kernel, KernelSums, Piece
from fedn.aggregation.plan import Plan
from fedn.aggregation.ranges import Ranges, scan
from fedn.aggregation.sum_writer import SumWriter, writing_sum
from fedn.aggregation.terms import WEIGHT_BITS, terms_of
from fedn.errors import BadNumExamples, QuorumNotMet, SchemaMismatch
from fedn.model.narrow import narrowed
from fedn.model.safetensors import ModelFile
from fedn.model.schema import Schema

MOST_CONTRIBUTIONS = 2**20
_BLOCK = 2 * BLOCK  # elements: with fewer, threads wait for the interpreter; with more, for memory
_FILES = 32  # that all threads of a fold have open at once: a combiner's descriptors are for its clients


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """An update that was checked, its num_examples, and the ranges that `check_update` found."""

    model: ModelFile
    weight: int
    ranges: Ranges


def check_update(model: ModelFile, schema: Schema, *, wire: str = "F32") -> Ranges:
    """Check an update against the schema of the round's global model, all values of it.

    Its F32 tensors are in ``wire`` (`fedn.model.narrow`). Raises SchemaMismatch, or NonFinite for NaN, Inf and
    |x| ≥ 2^900.
    """
    difference = narrowed(schema, wire).difference(model.schema)
    if difference is not None:
        raise SchemaMismatch(difference)
    return scan(model, schema=schema, wire=wire)


def check_num_examples(n: object) -> int:
    """``n`` if it is an integer from 1 to 2^29 − 1; else BadNumExamples."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise BadNumExamples(f"num_examples must be an integer, not {type(n).__name__}")
    if not 0 < n < 2**WEIGHT_BITS:
        raise BadNumExamples(f"num_examples must be from 1 to {2**WEIGHT_BITS - 1}")
    return n


def fold(
    contributions: Sequence[Contribution],
    out: Path,
    *,
    schema: Schema | None = None,
    wire: str = "F32",
    threads: int | None = None,
    block: int = _BLOCK,
    kernel: Kernel | None = None,
) -> int:
    """Write the exact Σ w·x as a combiner model to ``out``; returns Σ w.

    The global model's ``schema`` (without: the updates' own) has F32 where they have ``wire``: a 16-bit float is exact
    in float64, so the sum is as exact. Equal contributions in any order give equal bytes, whatever ``threads`` (one
    per core if None), ``block`` (elements at a time) and ``kernel`` (`fedn.aggregation.agreement.load`; None is numpy).
    Memory does not grow with their number or size. Raises QuorumNotMet for no contribution, SchemaMismatch,
    BadNumExamples; then nothing is left at ``out``.
    """
    weight = _checked_weight(contributions, schema and narrowed(schema, wire))
    layout = Layout(schema or contributions[0].model.schema)
    plan = Plan(layout, ((each.ranges, each.weight) for each in contributions))
    sources = [(Source(each.model, layout, wire=wire), each.weight) for each in contributions]
    blocks = list(layout.blocks(by_dtype=lambda dtype: plan.block_size(dtype, block)))
    with writing_sum(out, layout) as writer:

        def worker() -> Callable[[Block], None]:
            files = min(FILES_AT_ONCE, max(1, _FILES // threads_for(blocks, threads)))
            compiled = KernelSums(kernel, block, files=files) if kernel else None
            return _Folder(sources, plan, writer, block, compiled).fold

        for_each(blocks, worker, threads=threads)
    return weight


def _checked_weight(contributions: Sequence[Contribution], schema: Schema | None) -> int:
    if not contributions:
        raise QuorumNotMet("there is no update to fold")
    if len(contributions) > MOST_CONTRIBUTIONS:
        raise ValueError(f"{len(contributions)} contributions, more than {MOST_CONTRIBUTIONS}")
    schema = schema or contributions[0].model.schema
    for contribution in contributions:
        difference = schema.difference(contribution.model.schema)
        if difference is not None:
            raise SchemaMismatch(difference)
    return sum(check_num_examples(contribution.weight) for contribution in contributions)


class _Folder:
    """One thread's part of a fold, with memory of its own."""

    def __init__(
        self,
        sources: Sequence[tuple[Source, int]],
        plan: Plan,
        writer: SumWriter,
        size: int,
        compiled: KernelSums | None,
    ) -> None:
        self._sources = sources
        self._plan = plan
        self._writer = writer
        self._compiled = compiled
        self._data = np.empty(8 * size, np.uint8)
        self._terms = np.empty(size)
        self._scratch = np.empty(size)
        self._sums = Accumulator(size)

    def fold(self, block: Block) -> None:
        """Sum the block over all contributions and write it."""
        levels = self._plan.levels(block.dtype, block.first, block.last)
        self._writer.put(block, *(self._with_kernel(block, levels) or self._with_numpy(block, levels)))

    def _with_kernel(self, block: Block, levels: tuple[int, ...]) -> Expansion | None:
        """None if there is no kernel, or it cannot do it: another dtype, or a file with the block in many pieces."""
        dtype = self._sources[0][0].dtype(block)
        if self._compiled is None or not self._compiled.knows(dtype):
            return None
        pieces = [Piece(*place, weight) for source, weight in self._sources if (place := source.place(block))]
        if len(pieces) < len(self._sources):
            return None
        return self._compiled.fold(pieces, len(block), levels, dtype=dtype)

    def _with_numpy(self, block: Block, levels: tuple[int, ...]) -> Expansion:
        size = len(block)
        top = self._plan.top(block.first, block.last)
        self._sums.begin(size, levels)
        terms, scratch = self._terms[:size], self._scratch[:size]
        for source, weight in self._sources:
            values = source.read(block, self._data)
            for term in terms_of(values, weight, dtype=source.dtype(block), top=top, out=terms, scratch=scratch):
                self._sums.add(term)
        return self._sums.result()
