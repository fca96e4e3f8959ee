"""What a script says beside its model: how many examples it used, and its metrics, as JSON."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

from fedn.errors import BadNumExamples, OutputInvalid

Metrics = Mapping[str, SupportsFloat]


def save_metadata(model: str | PathLike[str], *, num_examples: SupportsIndex | None, metrics: Metrics | None) -> None:
    """Write ``<model>-metadata`` beside a trained model; nothing for a model that no data trained.

    `num_examples` counts training examples, not batches: it is the model's weight in the average.
    Raises `BadNumExamples` unless it is an integer above 0, `OutputInvalid` for a metric that is no
    finite number.
    """
    if num_examples is None and metrics is None:
        return
    if num_examples is None:
        raise BadNumExamples("metrics were given without num_examples")
    document = {"num_examples": count(num_examples), "metrics": _numbers(metrics or {})}
    _write(Path(fspath(model) + "-metadata"), document)


def save_metrics(path: str | PathLike[str], metrics: Metrics, *, num_examples: SupportsIndex) -> None:
    """Write the result of a validation: `metrics`, and the number of examples they were measured on.

    The network averages each metric over the clients, weighted by `num_examples`.
    Raises `BadNumExamples` and `OutputInvalid` as `save_metadata` does.
    """
    if "num_examples" in metrics:
        raise OutputInvalid("num_examples is given twice: once as a metric")
    _write(Path(path), {**_numbers(metrics), "num_examples": count(num_examples)})


def count(num_examples: SupportsIndex) -> int:
    """The number of examples as an integer. Raises `BadNumExamples` unless it is one above 0."""
    try:
        number = operator.index(num_examples)
    except TypeError:
        raise BadNumExamples(f"num_examples is {num_examples!r}, not an integer") from None
    if isinstance(num_examples, bool) or number <= 0:
        raise BadNumExamples(f"num_examples is {num_examples!r}, not a number of examples above 0")
    return number


def finite(name: str, value: SupportsFloat) -> float:
    """A metric's value. Raises `OutputInvalid` unless it is a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OutputInvalid(f"metric {name!r} is {value!r}, not a number") from None
    if not math.isfinite(number):
        raise OutputInvalid(f"metric {name!r} is {number}, not a finite number")
    return number


def _numbers(metrics: Metrics) -> dict[str, float]:
    return {name: finite(name, value) for name, value in metrics.items()}


def _write(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
