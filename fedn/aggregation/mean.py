"""The global model: the exact sums of all combiners, divided once by Σ w and rounded once to the dtype.

Every value is the correctly rounded one of the exact rational Σ w·x / Σ w: the nearest, the even of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from fedn.aggregation.blocks import BLOCK, Block, Layout, for_each, write_exactly
from fedn.aggregation.narrowing import Bits
from fedn.aggregation.pairs import PairSum, exact_totals
from fedn.aggregation.quotient import MOST_WEIGHT, divide
from fedn.aggregation.rounding import round_to_bits
from fedn.aggregation.sums import SumFile
from fedn.errors import BadNumExamples, ModelInvalid, QuorumNotMet, SchemaMismatch
from fedn.model.safetensors import canonical_header, digest_of
from fedn.model.schema import Schema
from fedn.model.whole import whole_file


def mean(
    sums: Sequence[SumFile],
    *,
    weight: int,
    schema: Schema,
    out: Path,
    threads: int | None = None,
    block: int = BLOCK,
) -> str:
    """Write the global model of the combiners' sums to ``out``, in canonical form; returns its sha256 in hex.

    ``weight`` is Σ w over all combiners. Equal sums give equal bytes, however the updates were grouped into
    combiners, whatever ``threads`` (one per core if None) and ``block`` (elements at a time). Memory does not
    grow with the model. Raises QuorumNotMet for no sums, BadNumExamples for a weight that is none,
    SchemaMismatch, and ModelInvalid for a mean beyond the dtype; then nothing is left at ``out``.
    """
    if not sums:
        raise QuorumNotMet("there is no combiner model to average")
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 < weight < MOST_WEIGHT:
        raise BadNumExamples("the total of num_examples must be an integer from 1 to 2^50 − 1")
    for each in sums:
        difference = schema.difference(each.layout.schema)
        if difference is not None:
            raise SchemaMismatch(difference)
    layout = Layout(schema)
    header = canonical_header(schema)
    with whole_file(out, synced=False) as file:  # whoever stores it syncs what is stored
        file.write(header)
        file.flush()
        descriptor = file.fileno()

        def worker() -> Callable[[Block], None]:
            pair_sum = PairSum(block)

            def average(part: Block) -> None:
                bits = _average(pair_sum, sums, weight, part)
                inside = bits.itemsize * (part.start - int(layout.starts[part.first]))
                place = len(header) + int(layout.offsets[part.first]) + inside
                write_exactly(descriptor, bits.view(np.uint8), place)

            return average

        for_each(list(layout.blocks(block)), worker, threads=threads)
    return digest_of(out)


def _average(pair_sum: PairSum, sums: Sequence[SumFile], weight: int, block: Block) -> Bits:
    total, spare = pair_sum.add_up(sums, block.start, len(block))
    bits, uncertain = divide(total, weight, block.dtype, spare=spare)
    if len(uncertain):
        for element, exact in exact_totals(sums, block.start, total, uncertain).items():
            try:
                bits[element] = round_to_bits(Fraction(exact, weight), block.dtype)
            except OverflowError as error:
                raise ModelInvalid(f"combiner models whose mean is beyond {block.dtype}: {error}") from None
    return bits
