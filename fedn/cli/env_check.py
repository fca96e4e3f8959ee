"""What is wrong with the secrets of an .env: docker-compose starts MongoDB, MinIO and mongo-express with anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fedn.cli.env_file import VARIABLES
from fedn.security.placeholders import is_placeholder

_LINE = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*")
_SAFE = re.compile(r"[A-Za-z0-9._~-]+")


def values_of(text: str) -> dict[str, str]:
    """The variables of an .env, as docker-compose reads them: the last of a name counts, quotes are no part of it."""
    found = {}
    for line in text.splitlines():
        said = _LINE.fullmatch(line)
        if said is not None:
            name, value = said.groups()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name] = value[1:-1] if quoted else value
    return found


def findings(values: Mapping[str, str]) -> Iterator[str]:
    """Each secret that is empty or a placeholder, and what no address can hold; no value is said."""
    for variable in VARIABLES:
        value = values.get(variable.name, "")
        if not value and (variable.secret or variable.in_address):
            yield f"{variable.name} is empty"
        elif variable.secret and is_placeholder(value):
            yield f"{variable.name} is a placeholder"
        elif variable.in_address and not _SAFE.fullmatch(value):
            yield f"{variable.name} has other characters than letters, digits and -._~, which mongo-express cannot use"
