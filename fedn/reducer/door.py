"""The reducer's door: who may come in by which route. A route that is not listed here is closed to all but admins.

A token comes in the `Authorization` header or, from a browser, as the login cookie; never in the address. A refusal
says nothing of what is behind the door: a path that does not exist is refused like any other.

Without tokens (this machine only) the door asks nobody who he is, but still turns away what a page of another site
makes a browser send: by its `Host`, its `Origin` and its `Sec-Fetch-Site`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Request, Response, g, request

from fedn.errors import ForeignRequest, PermissionDenied, Unauthenticated
from fedn.reducer.login import COOKIE, Login
from fedn.security.caller import ADMINS, ANYONE, Caller, Role
from fedn.security.tokens import Tokens, bearer, is_loopback

PROBES = frozenset({"network.health", "network.ready"})
OPEN = PROBES | {"login.form", "login.enter"}
ASSETS = frozenset({"style.css", "icon.svg"})  # files that the login page needs
# endpoint → who may use it; "static" is the scripts of the pages
WHO = {
    "static": ANYONE,
    "network.state": ANYONE,
    "network.assign": ANYONE,
    "sessions.plot": ANYONE,
    "sessions.all_sessions": ANYONE,
    "sessions.one": ANYONE,
    "sessions.rounds": ANYONE,
    "trail.records": ANYONE,
    "trail.model": ANYONE,
    "trail.receipt": ANYONE,
    "login.leave": ANYONE,
    "network.add": ADMINS,
    "seed.show": ADMINS,
    "seed.plant": ADMINS,
    "context.show": ADMINS,
    "context.download": ADMINS,
    "context.upload": ADMINS,
    "start.form": ADMINS,
    "start.start": ADMINS,
    "start.stop": ADMINS,
    "predictions.ask": ADMINS,
    "predictions.listed": ADMINS,
    "predictions.one": ADMINS,
    "trail.export": ADMINS,
    "trail.verify": ADMINS,
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGING = frozenset({"network.assign"})  # what changes something although it is a GET


class Door:
    """Stands before every request of the application."""

    def __init__(self, tokens: Tokens | None) -> None:
        self.tokens = tokens
        self.login = None if tokens is None else Login(tokens)

    def guard(self, app: Flask) -> None:
        """Take one's stand."""
        app.before_request(self.check)
        app.after_request(self.keep_private)
        app.context_processor(lambda: {"caller": g.get("caller"), "locked": self.tokens is not None})

    def check(self) -> None:
        """Raises Unauthenticated, PermissionDenied, ForeignRequest."""
        if request.endpoint in PROBES:
            return
        if self.tokens is None:
            check_host(request)
            g.caller = Caller(Role.ADMIN)
        elif request.endpoint not in OPEN and not is_asset(request):
            g.caller = self._caller(self.tokens)
            if g.caller.role not in allowed(request.endpoint):
                raise PermissionDenied("this takes the admin token, and the network token came")
        if request.method not in SAFE or request.endpoint in CHANGING:
            by_cookie = self.tokens is not None and "caller" in g and "Authorization" not in request.headers
            check_origin(request, must_tell=by_cookie)

    def _caller(self, tokens: Tokens) -> Caller:
        header, cookie = request.headers.get("Authorization"), request.cookies.get(COOKIE)
        if header is not None:
            token = bearer(header)
            caller, unknown = (None if token is None else tokens.caller(token)), "the reducer does not know this token"
        elif cookie is not None and self.login is not None:
            caller, unknown = self.login.caller(cookie), "this login has ended"
        else:
            caller, unknown = None, "the reducer asks for a token, and none came"
        if caller is None:
            raise Unauthenticated(unknown)
        return caller

    def keep_private(self, response: Response) -> Response:
        """What needed a token rests in no cache that others use."""
        if self.tokens is not None and not is_asset(request):
            response.headers["Cache-Control"] = "private, no-cache"
            response.vary.update(("Authorization", "Cookie"))
        return response


def allowed(endpoint: str | None) -> frozenset[Role]:
    """Who may use an endpoint; None, where there is nothing: any caller is told so."""
    return ANYONE if endpoint is None else WHO.get(endpoint, ADMINS)


def is_asset(asked: Request) -> bool:
    """True for the files that the login page needs."""
    return asked.endpoint == "static" and (asked.view_args or {}).get("filename") in ASSETS


def check_host(asked: Request) -> None:
    """Refuse a name that somebody has pointed at this machine (DNS rebinding). Raises ForeignRequest."""
    try:
        host = urlsplit(f"//{asked.host}").hostname
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        raise ForeignRequest("without tokens the reducer answers only to 127.0.0.1, [::1] and localhost")


def check_origin(asked: Request, *, must_tell: bool) -> None:
    """Refuse what a page of another site sends; `must_tell`: also what does not say. Raises ForeignRequest."""
    site, origin = asked.headers.get("Sec-Fetch-Site"), asked.headers.get("Origin")
    if site in ("same-origin", "none"):
        return
    if site is not None or (origin is not None and urlsplit(origin).netloc.lower() != asked.host.lower()):
        raise ForeignRequest("a page of another site sent this")
    if origin is None and must_tell:
        raise ForeignRequest("a browser that is logged in must say which page sent this")
