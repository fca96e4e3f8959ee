"""How many files and connections this process may have open at once."""

from __future__ import annotations

import resource

OWN = 96  # of a role itself: journal or state, its threads' files, gRPC's, transfers


def raise_limit() -> None:
    """Use what the system allows: the soft limit, often 1,024, is for programs that cannot count further."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_others() -> int:
    """How many connections there is room for beside what the role itself needs; at least a few."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**30 if soft == resource.RLIM_INFINITY else max(8, soft - OWN)


def for_clients(connections: int) -> int:
    """How many clients may stay; the other connections are for reducers, and to tell who is turned away."""
    return connections - max(4, connections // 8)
