"""A client that a round waits for stays where the round expects it: nothing would follow it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import pytest

from fedn.errors import NoCombiner
from fedn.reducer import discovery
from fedn.reducer.discovery import Request
from fedn.reducer.network import Seen
from fedn.reducer.sessions import ACTIVE
from fedn.storage.sqlite import SqliteState
from fedn.wire.v1 import control_pb2 as control


def combiner(name: str, *clients: str, up: bool = True) -> Seen:
    attached = [control.AttachedClient(client_id=c, name=c, part=k) for k, c in enumerate(clients)]
    return Seen(name, name, f"{name}:1", control.ReportReply(combiner=name, clients=attached) if up else None)


def ask(state: SqliteState, seen: list[Seen], preferred: str | None = None) -> dict[str, Any]:
    return discovery.assign(state, seen, Request("c0", "c0", preferred), deciding=Lock(), ages=discovery.Ages())


def begun(state: SqliteState, session: str, kind: str) -> None:
    where = [{"client_id": "c0", "combiner": "a"}]
    round_id = f"{session}.1.{kind}.1"
    document = {"_id": round_id, "session": session, "status": "started", "kind": kind, "participants": where}
    state.insert("rounds", document)


def test_a_client_does_not_move_while_a_prediction_waits_for_it(state: SqliteState) -> None:
    """As while a session's round does: nothing would follow it to another combiner."""
    assert ask(state, [combiner("a")])["combiner"] == "a"
    state.insert("predictions", {"_id": "p-1", "slot": ACTIVE, "status": "running"})
    begun(state, "p-1", "predict")
    with pytest.raises(NoCombiner):
        ask(state, [combiner("a", up=False), combiner("b")])


def test_a_client_does_not_move_to_the_combiner_it_prefers_while_a_round_waits_for_it(state: SqliteState) -> None:
    """Its own was never lost, so nothing would follow it."""
    assert ask(state, [combiner("a"), combiner("b", up=False)], "b")["combiner"] == "a"
    state.insert("sessions", {"_id": "s", "slot": ACTIVE})
    begun(state, "s", "train")
    assert ask(state, [combiner("a"), combiner("b")], "b")["combiner"] == "a"
