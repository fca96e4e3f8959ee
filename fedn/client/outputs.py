"""What scripts write: models, and beside them JSON with the number of examples and metrics."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from fedn.aggregation.fold import check_num_examples
from fedn.errors import BadNumExamples, ModelInvalid, OutputInvalid, OutputMissing
from fedn.model.safetensors import ModelFile, digest_of, open_model

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Metadata:
    """On how many examples a model was trained or measured, and with what result."""

    num_examples: int
    metrics: dict[str, float]


def open_output(out: Path) -> ModelFile:
    """The model that train wrote, of which the header is looked at. Raises OutputInvalid for what is not one."""
    if not out.is_file():
        raise OutputInvalid(f"train wrote {out.name}, which is not a file")
    try:
        return open_model(out)
    except ModelInvalid as error:
        raise OutputInvalid(f"train wrote what is not a model: {error.reason}") from None


def check_output(out: Path) -> str:
    """The digest of a written model. Raises OutputInvalid."""
    open_output(out)
    return digest_of(out)


def read_metadata(path: Path) -> Metadata:
    """The ``<model-out>-metadata`` of train: `num_examples`, `metrics`, and other numbers, which are metrics too.

    Raises OutputMissing, OutputInvalid, BadNumExamples.
    """
    content = _read(path)
    if "num_examples" not in content:
        raise BadNumExamples(f"{path.name} has no num_examples")
    return Metadata(_num_examples(path, content["num_examples"]), _metrics(path, content))


def read_metrics(path: Path) -> Metadata:
    """The ``<metrics-out.json>`` of validate, in the same form; without `num_examples` it counts as one.

    Raises OutputMissing, OutputInvalid, BadNumExamples.
    """
    content = _read(path)
    return Metadata(_num_examples(path, content.get("num_examples", 1)), _metrics(path, content))


def _read(path: Path) -> dict[str, object]:
    if not path.exists():
        raise OutputMissing(f"the script ended well but wrote no {path.name}")
    if not path.is_file():
        raise OutputInvalid(f"{path.name} is not a file")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise OutputInvalid(f"{path.name} is larger than {MAX_BYTES} bytes")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise OutputInvalid(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise OutputInvalid(f"{path.name} is not a JSON object")
    return content


def _num_examples(path: Path, value: object) -> int:
    try:
        return check_num_examples(value)
    except BadNumExamples as error:
        raise BadNumExamples(f"in {path.name}: {error.reason}") from None


def _metrics(path: Path, content: dict[str, object]) -> dict[str, float]:
    """Numbers beside `num_examples` (other values are notes) and those in `metrics` (which must be numbers)."""
    beside = {k: v for k, v in content.items() if k not in ("num_examples", "metrics") and _is_number(v)}
    inside = content.get("metrics", {})
    if not isinstance(inside, dict):
        raise OutputInvalid(f"metrics in {path.name} is {_shown(inside)}, not a JSON object")
    for name, value in inside.items():
        if not _is_number(value):
            raise OutputInvalid(f"metric {name!r} in {path.name} is {_shown(value)}, not a number")
    return {name: _finite(path, name, value) for name, value in (beside | inside).items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(path: Path, name: str, value: object) -> float:
    if not name.isprintable() or not name:
        raise OutputInvalid(f"{name!r} in {path.name} is no name for a metric")
    try:
        number = float(value)  # type: ignore[arg-type]  # a number, as was checked
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise OutputInvalid(f"metric {name!r} in {path.name} is {number}")
    return number


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
