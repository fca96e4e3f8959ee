"""The reducer's Flask application."""

from __future__ import annotations

import logging

from flask import Flask, Response, make_response, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from fedn.errors import AccessRefused, DiskFull, FednError, Unauthenticated, no_room
from fedn.reducer.api import Office, context, login, network, predictions, seed, sessions, start, trail, wants_page
from fedn.reducer.api.uploads import requests_into
from fedn.reducer.desk import Desk
from fedn.reducer.door import Door
from fedn.reducer.engine import Engine
from fedn.security.tokens import tokens_of

log = logging.getLogger(__name__)

POLICY = "default-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def create_app(desk: Desk, engine: Engine) -> Flask:
    """The application over the given stores and engine; the caller starts and stops both. Raises ConfigInvalid."""
    app = Flask("fedn.reducer", template_folder="dashboard/templates", static_folder="dashboard/static")
    app.request_class = requests_into(desk.uploads)
    office = Office(desk, engine)
    for module in (network, seed, context, start, sessions, predictions, trail):
        app.register_blueprint(module.blueprint(office))
    door = Door(tokens_of(desk.settings))
    door.guard(app)
    app.register_blueprint(login.blueprint(door))
    app.after_request(guarded)
    app.register_error_handler(AccessRefused, turned_away)
    app.register_error_handler(FednError, refused)
    app.register_error_handler(OSError, not_written)
    app.register_error_handler(HTTPException, not_served)
    return app


def guarded(response: Response) -> Response:
    """Nothing but our own scripts runs in our pages; and one address serves pages and JSON."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    # with no-referrer, a form of ours would say that it came from nowhere
    response.headers["Referrer-Policy"] = "same-origin"
    response.vary.add("Accept")
    return response


def not_written(error: OSError) -> ResponseReturnValue:
    """A full disk is no defect of ours."""
    if not no_room(error):
        raise error
    log.error("no room: %s", error)
    return refused(DiskFull(f"the reducer's disk is full: {error.strerror}"))


def refused(error: FednError) -> ResponseReturnValue:
    """Every failure as {error: {code, reason, detail}}, or as a page for a browser."""
    if error.http >= FednError.http and type(error) is FednError:
        log.error("internal error: %s", error)
    if wants_page():
        return render_template("error.html", error=error, status=error.http), error.http
    return {"error": error.as_json()}, error.http


def turned_away(error: AccessRefused) -> ResponseReturnValue:
    """Who may not come in, or not as far: a browser that has shown no token gets the form for it."""
    form = isinstance(error, Unauthenticated) and wants_page()
    answer = make_response(login.login_page(error) if form else refused(error))
    answer.headers.update(login.headers_of(error))
    return answer


def not_served(error: HTTPException) -> ResponseReturnValue:
    """What the web framework refuses, in the same form."""
    status = error.code or 500
    code = {404: "not_found", 405: "method_not_allowed", 413: "model_too_large"}.get(
        status, "bad_input" if status < FednError.http else FednError.code
    )
    if wants_page():
        return render_template("error.html", error={"code": code, "reason": error.description}, status=status), status
    return {"error": {"code": code, "reason": error.description or "", "detail": {}}}, status
