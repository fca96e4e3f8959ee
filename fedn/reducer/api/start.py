"""`/start` and its opposite: begin and stop a session."""

from __future__ import annotations

from dataclasses import MISSING, fields

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from fedn.errors import PackageMissing, SeedMissing
from fedn.reducer.api import Office, fields_of, shown, wants_page
from fedn.reducer.session_config import SessionConfig


def blueprint(office: Office) -> Blueprint:
    """The routes that begin and stop sessions."""
    routes, desk, engine = Blueprint("start", __name__), office.desk, office.engine

    @routes.get("/start")
    def form() -> ResponseReturnValue:
        """The form that starts a session; as JSON, what can be asked for."""
        defaults = {f.name: f.default for f in fields(SessionConfig) if f.default not in (MISSING, None)}
        options = [{"name": f.name, "default": defaults.get(f.name), **f.metadata} for f in fields(SessionConfig)]
        running = desk.sessions.active()
        return shown("start.html", {"options": options, "running": running["_id"] if running else None})

    @routes.post("/start")
    @routes.post("/api/v1/sessions")
    def start() -> ResponseReturnValue:
        """Start a session; answers 202 with its id at once."""
        given = fields_of(request)
        if wants_page():  # an unticked box of a form is not sent at all
            given.setdefault("validate", "false")
        config = SessionConfig.parse(given)
        if desk.check_newest() is None:
            raise SeedMissing("there is no seed model; upload one at /seed")
        if desk.state.get("context", "package") is None:
            raise PackageMissing("there is no compute package; upload one at /context")
        session = desk.sessions.create(config)
        engine.wake()
        if wants_page():
            return redirect(f"/plot?session={session['_id']}", 303)
        return {"session": session["_id"], "config": session["config"]}, 202

    @routes.post("/api/v1/sessions/<session_id>/stop")
    def stop(session_id: str) -> ResponseReturnValue:
        """Ask the session to stop; its finished rounds stay in the trail."""
        session = desk.sessions.ask_to_stop(session_id)
        engine.wake()
        if wants_page():
            return redirect(f"/plot?session={session_id}", 303)
        return {"session": session_id, "status": session["status"]}, 202

    return routes
