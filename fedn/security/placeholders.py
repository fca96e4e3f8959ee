"""Secrets that somebody forgot to choose: known words of examples, or too few different characters."""

from __future__ import annotations

import re

# long enough that a random token does not hold one by accident
_WORDS = re.compile(
    r"change_?me|replace_?me|place_?holder|password|passw0rd|default|example|secret|insert|your_?token|0123456789"
)
_VARIETY = 6


def is_placeholder(secret: str) -> bool:
    """True for a value such as `change-me`, `<your token>` or `aaaaaaaaaaaaaaaa`."""
    plain = re.sub(r"[\W_]+", "_", secret.lower())
    return _WORDS.search(plain) is not None or len(set(secret)) < _VARIETY
