"""What the entry point `predict` writes: a JSON object or list of at most 1 MiB. What it means is the user's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from fedn.errors import OutputInvalid

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 100  # levels of nesting: beyond some number, other readers of JSON fail


def check_size(size: int) -> int:
    """The size in bytes, within the limit. Raises OutputInvalid."""
    if size > MAX_BYTES:
        raise OutputInvalid(f"the predictions have {size} bytes; the limit is {MAX_BYTES}")
    return size


def check_predictions(path: Path) -> int:
    """Their size in bytes. Raises OutputInvalid for what are none, FileNotFoundError."""
    if path.exists() and not path.is_file():
        raise OutputInvalid(f"predict wrote {path.name}, which is not a file")
    size = check_size(path.stat().st_size)
    try:
        content = json.loads(path.read_bytes().decode(), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise OutputInvalid(f"the predictions are not JSON: {error}") from None
    if not isinstance(content, dict | list):
        raise OutputInvalid("the predictions are neither a JSON object nor a list")
    if not _is_shallow(content):
        raise OutputInvalid(f"the predictions are nested deeper than {MAX_DEPTH} levels")
    return size


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a finite number")


def _finite(word: str) -> float:
    """Readers of JSON take 1e400 for infinity, and write that as what is no JSON."""
    number = float(word)
    return number if math.isfinite(number) else _no_number(word[:40])


def _is_shallow(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return True
    return False


def _children(value: Any) -> list[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]
