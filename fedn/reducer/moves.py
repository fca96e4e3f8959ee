"""Which clients of a round must move to another combiner; a pure function of the plan and of what the combiners say.

A client moves when its combiner is lost, to the one where it is attached now; or back to its own, once that is up
again. It also moves when its combiner waits for it in vain because it is attached elsewhere. It never moves away from
a combiner that has its answer, and never while it is attached where the plan has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fedn.reducer.network import Seen
from fedn.reducer.plan import Plan


def moves(plan: Plan, seen: Sequence[Seen]) -> dict[str, str]:
    """Client id → the combiner that it is given to, for each that moves; its own, if that was lost and is up again."""
    up = {combiner.name for combiner in seen if combiner.up}
    where = defaultdict(set)
    for combiner in seen:
        if combiner.up:
            for client in combiner.clients():
                where[client.client_id].add(combiner.name)
    awaited = {(combiner.name, client) for combiner in seen for client in combiner.awaits(plan.round_id)}
    found = {}
    for client in plan.participants:
        places, lost = where[client.client_id], client.combiner in plan.lost
        if client.combiner in places and not lost:
            continue
        if lost or (client.combiner, client.client_id) in awaited:
            if places:
                found[client.client_id] = client.combiner if client.combiner in places else min(places)
            elif lost and client.combiner in up:
                found[client.client_id] = client.combiner
    return found
