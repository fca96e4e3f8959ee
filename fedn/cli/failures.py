"""What went wrong at clients, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TAIL_LINES = 10


def of_session(session: dict[str, Any]) -> str:
    """The first failure of the newest round that has any: who, what, and the end of the script's stderr."""
    for line in reversed(session["rounds"]):
        for failure in line["failures"]:
            return "\n".join(in_words(failure))
    return ""


def in_words(failure: dict[str, Any]) -> Iterator[str]:
    """One client's failure, line by line."""
    yield f"{failure['name']}: {failure['reason']} [{failure['code']}]"
    yield from (f"  {line}" for line in failure["stderr_tail"].strip().splitlines()[-TAIL_LINES:])
