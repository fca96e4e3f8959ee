"""Sessions as documents: one training run with its config, from start to end.

`slot` is a unique field: "active" while the session runs, then its own id. So the store itself allows one
running session, whichever worker asks.

::

    waiting ⇄ running ──▶ finished | failed | stopped
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from fedn.errors import AlreadyExists, NotFound, SessionRunning, VersionConflict
from fedn.reducer.session_config import SessionConfig
from fedn.storage.state import State

ACTIVE = "active"

MayWrite: TypeAlias = "Callable[[], None]"


class Sessions:
    """The sessions in a state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, config: SessionConfig) -> dict[str, Any]:
        """Open a session. Raises SessionRunning with the id of the one that runs."""
        document = {
            "_id": f"s-{secrets.token_hex(4)}",
            "slot": ACTIVE,
            "status": "waiting",
            "reason": "about to begin",
            "code": "",
            "config": config.as_json(),
            "created": time.time(),
            "ended": None,
            "stop": False,
        }
        try:
            return self._state.insert("sessions", document)
        except AlreadyExists:
            running = self.active()
            if running is None:  # it ended at this very moment
                return self.create(config)
            raise SessionRunning(f"session {running['_id']} is running", session=running["_id"]) from None

    def active(self) -> dict[str, Any] | None:
        """The session that runs or waits now."""
        found = self._state.find("sessions", where={"slot": ACTIVE}, limit=1)
        return found[0] if found else None

    def get(self, session_id: str) -> dict[str, Any]:
        """A session. Raises NotFound."""
        document = self._state.get("sessions", session_id)
        if document is None:
            raise NotFound(f"there is no session {session_id!r}")
        return document

    def all(self) -> list[dict[str, Any]]:
        """All sessions, newest first."""
        return self._state.find("sessions", sort="created", descending=True)

    def finished(self) -> dict[str, int]:
        """The rounds of every session that finished: so many are in the trail."""
        return {s["_id"]: s["config"]["rounds"] for s in self._state.find("sessions", where={"status": "finished"})}

    def ask_to_stop(self, session_id: str) -> dict[str, Any]:
        """Ask the leader to stop the session; an ended session stays as it is."""
        return self._change(session_id, lambda d: d if d["slot"] != ACTIVE else d | {"stop": True})

    def take(self, session_id: str, term: int) -> dict[str, Any]:
        """The leader of this term goes on with the session; what a former one is about to write fails from here on."""
        return self._change(session_id, lambda d: d | {"term": term})

    def set_status(
        self, session_id: str, status: str, reason: str = "", *, may_write: MayWrite = lambda: None
    ) -> dict[str, Any]:
        """Note what an active session is doing; `may_write` raises StaleTerm when another leads."""
        now = {"status": status, "reason": reason}
        return self._change(session_id, lambda d: d | now if d["slot"] == ACTIVE else d, may_write)

    def end(
        self, session_id: str, status: str, *, code: str = "", reason: str = "", may_write: MayWrite = lambda: None
    ) -> dict[str, Any]:
        """Close a session and free the slot; `may_write` as above."""
        final = {"status": status, "code": code, "reason": reason, "slot": session_id, "ended": time.time()}
        return self._change(session_id, lambda d: d | final, may_write)

    def _change(
        self,
        session_id: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        may_write: MayWrite = lambda: None,
    ) -> dict[str, Any]:
        """Compare-and-set until it holds. Asked between reading and writing, `may_write` guards the very write."""
        while True:
            before = self.get(session_id)
            after = change(before)
            if after == before:
                return before
            may_write()
            try:
                return self._state.replace("sessions", after)
            except VersionConflict:
                continue
