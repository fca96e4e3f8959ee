"""The global model: the exact sums of all combiners, divided once by Σ w and rounded once to the dtype.

Every value is the correctly rounded one of the exact rational Σ w·x / Σ w: the nearest, the even of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from fedn.aggregation.blocks import Block, Layout, for_each, write_exactly
from fedn.aggregation.exact import Elements, Floats, Sums, two_sum
from fedn.aggregation.narrowing import Bits
from fedn.aggregation.quotient import divide
from fedn.aggregation.rounding import round_to_bits
from fedn.aggregation.sums import SumFile
from fedn.errors import BadNumExamples, ModelInvalid, QuorumNotMet, SchemaMismatch
from fedn.model.safetensors import canonical_header, digest_of
from fedn.model.schema import Schema
from fedn.model.whole import whole_file

_BLOCK = 12_288  # elements: temporaries of this size come from the heap, larger ones as fresh pages


def mean(
    sums: Sequence[SumFile],
    *,
    weight: int,
    schema: Schema,
    out: Path,
    threads: int | None = None,
    block: int = _BLOCK,
) -> str:
    """Write the global model of the combiners' sums to ``out``, in canonical form; returns its sha256 in hex.

    ``weight`` is Σ w over all combiners. Equal sums give equal bytes, however the updates were grouped into
    combiners, whatever ``threads`` (one per core if None) and ``block`` (elements at a time). Memory does not
    grow with the model. Raises QuorumNotMet for no sums, BadNumExamples for a weight that is none,
    SchemaMismatch, and ModelInvalid for a mean beyond the dtype; then nothing is left at ``out``.
    """
    if not sums:
        raise QuorumNotMet("there is no combiner model to average")
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 < weight < 2**53:
        raise BadNumExamples("the total of num_examples must be an integer from 1 to 2^53 − 1")
    for each in sums:
        difference = schema.difference(each.layout.schema)
        if difference is not None:
            raise SchemaMismatch(difference)
    layout = Layout(schema)
    header = canonical_header(schema)
    with whole_file(out) as file:
        file.write(header)
        file.flush()
        descriptor = file.fileno()

        def average(part: Block) -> None:
            bits = _average(sums, weight, part)
            first = int(layout.offsets[part.first]) + bits.itemsize * (part.start - int(layout.starts[part.first]))
            write_exactly(descriptor, bits.view(np.uint8), len(header) + first)

        for_each(list(layout.blocks(block)), lambda: average, threads=threads)
    return digest_of(out)


def _average(sums: Sequence[SumFile], weight: int, block: Block) -> Bits:
    total = _add_up(sums, block.start, len(block))
    bits, uncertain = divide(total, weight, block.dtype)
    if len(uncertain):
        for element, exact in _exact_totals(sums, block.start, total, uncertain).items():
            try:
                bits[element] = round_to_bits(Fraction(exact, weight), block.dtype)
            except OverflowError as error:
                raise ModelInvalid(f"combiner models whose mean is beyond {block.dtype}: {error}") from None
    return bits


def _exact_totals(sums: Sequence[SumFile], start: int, total: Sums, elements: Elements) -> dict[int, int | Fraction]:
    """The sums of these elements as rational numbers: from the pairs that are exact, else from the files."""
    exact = total.at(elements[total.slack[elements] == 0])
    pairs = zip(exact.hi.tolist(), exact.lo.tolist(), strict=True)
    totals = dict(
        zip(elements[total.slack[elements] == 0].tolist(), (sum(map(_rational, pair)) for pair in pairs), strict=True)
    )
    lossy = elements[total.slack[elements] != 0]
    if not len(lossy):
        return totals
    totals.update(dict.fromkeys(lossy.tolist(), 0))
    heads = np.empty(len(total.hi))
    for each in sums:
        each.heads(start, heads)
        places, tails = each.tails(start, start + len(heads))
        wanted = np.isin(places - start, lossy)
        for element, part in chain(
            zip(lossy.tolist(), heads[lossy].tolist(), strict=True),
            zip((places[wanted] - start).tolist(), tails[wanted].tolist(), strict=True),
        ):
            totals[element] += _rational(part)
    return totals


def _rational(x: float) -> int | Fraction:
    return int(x) if x.is_integer() else Fraction(x)


def _add_up(sums: Sequence[SumFile], start: int, size: int) -> Sums:
    """The sum of all sums as pairs. What a pair cannot hold is counted as slack, not lost unseen."""
    hi, heads, slack = np.empty(size), np.empty(size), np.zeros(size)
    sums[0].heads(start, hi)
    hi += 0.0  # a mean of zeros is not −0
    lo = np.zeros(size)
    for number, each in enumerate(sums[1:]):
        each.heads(start, heads)
        hi, error = two_sum(hi, heads)
        if number == 0:
            lo = error
            continue
        lo, lost = two_sum(lo, error)
        slack += np.abs(lost)
    for each in sums:
        _add_tails(lo, slack, *each.tails(start, start + size), start)
    hi, lo = two_sum(hi, lo)
    return Sums(hi, lo, slack)


def _add_tails(lo: Floats, slack: Floats, elements: Elements, tails: Floats, start: int) -> None:
    """Add tails to lo: the first of each element, then the second of those that have one, and so on."""
    while len(tails):
        later = np.zeros(len(tails), np.bool_)
        later[1:] = elements[1:] == elements[:-1]
        places = elements[~later] - start
        lo[places], lost = two_sum(lo[places], tails[~later])
        slack[places] += np.abs(lost)
        elements, tails = elements[later], tails[later]
