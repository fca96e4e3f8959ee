"""Who takes part in a round, and the seed of each task: fixed by the session's seed, the round and the part.

The choice is over *parts*, not over names, addresses or the order of arrival, so the same network gives the
same choice however its clients are grouped under combiners (I4).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ConnectedClient:
    """A client that is attached to a combiner now."""

    client_id: str
    name: str
    part: int
    combiner: str
    encodings: frozenset[str] = field(default=frozenset(), compare=False)  # that it knows

    def can(self, encodings: Iterable[str]) -> bool:
        """Whether it can take part in a session that asks for these."""
        return self.encodings.issuperset(encodings)


def choose(
    connected: Sequence[ConnectedClient], *, requested: int | None, seed: int, round_number: int
) -> list[ConnectedClient]:
    """`requested` of the connected clients (None: all), ordered by part.

    >>> clients = [ConnectedClient(f"id{k}", f"c{k}", k, "a") for k in range(5)]
    >>> [c.part for c in choose(clients, requested=2, seed=7, round_number=3)]
    [1, 3]
    >>> [c.part for c in choose(clients[::-1], requested=2, seed=7, round_number=3)]
    [1, 3]
    """
    by_part = sorted(connected, key=lambda client: (client.part, client.client_id))
    if requested is None or requested >= len(by_part):
        return by_part
    rng = random.Random(f"{seed}/{round_number}")  # noqa: S311 - sampling, not a secret
    return sorted(rng.sample(by_part, requested), key=lambda client: (client.part, client.client_id))


def task_seed(*, seed: int, round_number: int, part: int) -> int:
    """A 32-bit seed for one client's task in one round."""
    digest = hashlib.sha256(f"{seed}/{round_number}/{part}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
