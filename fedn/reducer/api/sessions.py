"""`/plot` and `/api/v1/sessions`: watch sessions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from fedn.errors import NotFound
from fedn.reducer.api import Office, shown, wants_page
from fedn.reducer.views import session_view


def blueprint(office: Office) -> Blueprint:
    """The routes that show sessions."""
    routes, desk, engine = Blueprint("sessions", __name__), office.desk, office.engine

    def viewed(session: dict[str, Any]) -> dict[str, Any]:
        return session_view(desk, session, engine.ask(lambda network: network.survey()))

    @routes.get("/plot")
    def plot() -> ResponseReturnValue:
        """Loss and accuracy per round of one session (`?session=`, default the newest)."""
        every = desk.sessions.all()
        wanted = request.args.get("session")
        if wanted is not None:
            chosen: dict[str, Any] | None = desk.sessions.get(wanted)
        else:
            chosen = every[0] if every else None
        if chosen is None and not wants_page():
            raise NotFound("no session has been started yet")
        listed = [{"id": s["_id"], "status": s["status"]} for s in every]
        return shown("plot.html", {"session": chosen and viewed(chosen), "sessions": listed})

    @routes.get("/api/v1/sessions")
    def all_sessions() -> ResponseReturnValue:
        """All sessions, newest first, without their rounds."""
        brief = ("status", "code", "reason", "config", "created", "ended")
        return {"sessions": [{"id": s["_id"]} | {k: s[k] for k in brief} for s in desk.sessions.all()]}

    @routes.get("/api/v1/sessions/<session_id>")
    def one(session_id: str) -> ResponseReturnValue:
        """One session with its rounds and what it does now."""
        return viewed(desk.sessions.get(session_id))

    @routes.get("/api/v1/sessions/<session_id>/rounds/<int:number>")
    def rounds(session_id: str, number: int) -> ResponseReturnValue:
        """The records of one round: every attempt, every client."""
        desk.sessions.get(session_id)
        found = desk.state.find("rounds", where={"session": session_id, "round": number}, sort="started")
        return {"rounds": [{k: v for k, v in r.items() if not k.startswith("_")} for r in found]}

    return routes
