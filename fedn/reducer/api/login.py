"""`/login`, `/logout`: a person shows a token once, and the browser keeps a cookie instead."""

from __future__ import annotations

import logging
import re

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from fedn.errors import AccessRefused, TooManyAttempts, Unauthenticated
from fedn.reducer.api import fields_of
from fedn.reducer.door import Door
from fedn.reducer.login import take
from fedn.reducer.throttle import WINDOW_S, Throttle

log = logging.getLogger(__name__)

_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")  # no backslash: browsers take it for a slash


def blueprint(door: Door) -> Blueprint:
    """The routes of the login."""
    routes, throttle = Blueprint("login", __name__), Throttle()

    @routes.get("/login")
    def form() -> ResponseReturnValue:
        """The form that takes a token; without tokens there is nothing to log in to."""
        onward = own_path(request.args.get("next", ""))
        if door.tokens is None:
            return redirect(onward, 303)
        return render_template("login.html", next=onward, error=None)

    @routes.post("/login")
    def enter() -> ResponseReturnValue:
        """Exchange a token for the cookie, and go on to the page that was asked for (`token`, `next`)."""
        address = request.remote_addr or ""
        if throttle.refuses(address):
            raise TooManyAttempts(f"too many wrong tokens came from {address}")
        given = fields_of(request)
        onward = redirect(own_path(str(given.get("next", ""))), 303)
        if door.tokens is None or door.login is None:
            return onward
        caller = door.tokens.caller(str(given.get("token", "")).strip())
        if caller is None:
            throttle.failed(address)
            log.warning("a login from %s failed", address)
            raise Unauthenticated("the reducer does not know this token")
        door.login.give(onward, caller, secure=request.is_secure)
        return onward

    @routes.post("/logout")
    def leave() -> ResponseReturnValue:
        """Take the cookie away."""
        answer = redirect("/login", 303)
        take(answer)
        return answer

    return routes


def own_path(wanted: str) -> str:
    """The page to go on to: a path of this reducer, else the first page."""
    inside = _PATH.fullmatch(wanted) is not None and not wanted.startswith(("/login", "/logout"))
    return wanted if inside else "/"


def login_page(error: AccessRefused) -> ResponseReturnValue:
    """The form in the place of a page that needs a login; it leads back to that page."""
    if request.method == "GET":
        wanted = request.full_path.removesuffix("?")
    else:
        wanted = request.form.get("next", "") if request.endpoint == "login.enter" else ""
    return render_template("login.html", next=own_path(wanted), error=error), error.http


def headers_of(error: AccessRefused) -> dict[str, str]:
    """What a refusal says beside its body."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": f"{WINDOW_S:.0f}"} if isinstance(error, TooManyAttempts) else {}
