"""Federated averaging in one call: the flat form of what combiners and the reducer do together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedn.aggregation.fold import Contribution, fold
from fedn.aggregation.kernel import Kernel
from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.model.schema import Schema


def fedavg(
    contributions: Sequence[Contribution],
    *,
    schema: Schema,
    out: Path,
    wire: str = "F32",
    threads: int | None = None,
    kernel: Kernel | None = None,
) -> str:
    """Write Σ w·x / Σ w to ``out`` as a canonical model (McMahan et al. 2017, algorithm 1); returns its sha256.

    The result is bit for bit that of `fold` at any number of combiners and one `mean` over them. Raises what
    these raise. ``wire`` is the dtype in which the updates' F32 tensors are.

    >>> import numpy as np
    >>> from fedn.aggregation.fold import check_update
    >>> from fedn.model.safetensors import load_tensors, open_model, write_model
    >>> folder = Path(tempfile.mkdtemp())
    >>> def update(name: str, value: float, num_examples: int) -> Contribution:
    ...     _ = write_model(folder / name, {"w": np.full(3, value, np.float32)})
    ...     model = open_model(folder / name)
    ...     return Contribution(model, num_examples, check_update(model, model.schema))
    >>> updates = [update("one client", 0.0, 1), update("nine clients", 10.0, 9)]
    >>> digest = fedavg(updates, schema=updates[0].model.schema, out=folder / "global")
    >>> load_tensors(folder / "global")["w"].tolist()
    [9.0, 9.0, 9.0]
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        sums = Path(folder) / "sums"
        weight = fold(contributions, sums, schema=schema, wire=wire, threads=threads, kernel=kernel)
        return mean([open_sum(sums, schema)], weight=weight, schema=schema, out=out, threads=threads)
