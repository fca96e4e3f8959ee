from __future__ import annotations

from typing import Any

import pytest

from fedn.errors import NotFound, SessionRunning, StaleTerm
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.sessions import Sessions
from fedn.storage.sqlite import SqliteState


def test_one_session_runs_at_a_time(state: SqliteState) -> None:
    sessions = Sessions(state)
    first = sessions.create(SessionConfig())
    with pytest.raises(SessionRunning) as caught:
        sessions.create(SessionConfig())
    assert caught.value.detail == {"session": first["_id"]}
    sessions.end(first["_id"], "finished")
    second = sessions.create(SessionConfig())
    active = sessions.active()
    assert active is not None
    assert active["_id"] == second["_id"]
    assert [s["_id"] for s in sessions.all()] == [second["_id"], first["_id"]]


def test_a_session_that_ends_just_then_does_not_stand_in_the_way(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(state)
    first = sessions.create(SessionConfig())
    active = sessions.active

    def just_ended() -> dict[str, Any] | None:
        monkeypatch.undo()
        sessions.end(first["_id"], "finished")
        return active()

    monkeypatch.setattr(sessions, "active", just_ended)
    assert sessions.create(SessionConfig())["_id"] != first["_id"]


def test_an_ended_session_cannot_be_stopped(state: SqliteState) -> None:
    sessions = Sessions(state)
    session = sessions.create(SessionConfig())["_id"]
    sessions.end(session, "failed", code="x", reason="y")
    assert not sessions.ask_to_stop(session)["stop"]
    with pytest.raises(NotFound):
        sessions.ask_to_stop("s-none")


def test_a_change_that_meets_another_keeps_both(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(state)
    session = sessions.create(SessionConfig())["_id"]
    replace = state.replace

    def beaten(collection: str, document: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.undo()
        sessions.ask_to_stop(session)
        return replace(collection, document)

    monkeypatch.setattr(state, "replace", beaten)
    changed = sessions.set_status(session, "running")
    assert (changed["status"], changed["stop"]) == ("running", True)


def test_a_leader_that_was_frozen_before_its_write_does_not_end_a_session_that_another_has_taken(
    state: SqliteState,
) -> None:
    sessions, leads = Sessions(state), True
    session = sessions.create(SessionConfig())["_id"]

    def thaws() -> None:
        """It still led when it looked; then it was frozen, and another took over."""
        nonlocal leads
        if not leads:
            raise StaleTerm("the lease ran out")
        leads = False
        sessions.take(session, 2)

    with pytest.raises(StaleTerm):
        sessions.end(session, "failed", code="x", reason="y", may_write=thaws)
    assert (sessions.get(session)["status"], sessions.get(session)["term"]) == ("waiting", 2)
