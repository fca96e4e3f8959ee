"""Who is asking, as the roles see it: whatever it was shown by, a token today."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a caller is to the network."""

    MEMBER = "member"  # lets clients in, and shows what there is
    ADMIN = "admin"  # people, the reducer and combiners: can do all


ANYONE = frozenset(Role)
ADMINS = frozenset({Role.ADMIN})


@dataclass(frozen=True)
class Caller:
    """Who is asking."""

    role: Role
