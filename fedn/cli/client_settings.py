"""Client settings on the command line: ``--setting KEY=VALUE`` for all clients, ``NAME:KEY=VALUE`` for one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fedn.errors import BadInput


def read_settings(pairs: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings for all clients, and those for single ones by their names. Raises BadInput.

    A value is JSON where it can be, else text.

    >>> read_settings(["epochs=1", "client-3:epochs=2", "mode=fast"])
    ({'epochs': 1, 'mode': 'fast'}, {'client-3': {'epochs': 2}})
    """
    for_all: dict[str, Any] = {}
    for_one: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        words, equals, value = pair.partition("=")
        name, colon, key = words.rpartition(":")
        if not key or not equals or (colon and not name):
            raise BadInput(f"--setting wants KEY=VALUE or NAME:KEY=VALUE, not {pair!r}")
        layer = for_one.setdefault(name, {}) if colon else for_all
        layer[key] = read_value(value)
    return for_all, for_one


def read_value(text: str) -> Any:
    """JSON, or the text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_object(text: str | None, option: str) -> Any:
    """What an option has as JSON; None when it was not given. Raises BadInput."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"{option} is not JSON: {error}") from None
