"""A reducer's application that asks for tokens, and everything that its door must keep closed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from fedn.reducer.door import OPEN
from test.unit.dashboard_bench import DIGEST, Bench, bench

NETWORK, ADMIN, WRONG = (secrets.token_urlsafe(32) for _ in range(3))
HERE = {"Origin": "http://localhost"}  # what a browser says of a form of the reducer's own pages
PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def shows(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def locked(folder: Path, **tokens: str) -> Iterator[Bench]:
    """A reducer with tokens, a seed model and a package."""
    with bench(folder / "reducer") as made:
        made.package()
        made.seed()
        own: Any = {"auth_token": NETWORK, "admin_token": ADMIN} | tokens
        made.desk = replace(made.desk, settings=replace(made.desk.settings, **own))
        yield made


def paths(app: Flask) -> list[tuple[str, str, Rule]]:
    """Every method of every route, with a path that leads to it."""
    filled = {"filename": "poll.js", "session_id": "s", "prediction_id": "p", "number": "1", "digest": DIGEST}
    found = []
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name, value in filled.items():
            for converter in ("", "int:", "path:"):
                path = path.replace(f"<{converter}{name}>", value)
        assert "<" not in path, f"no value for a part of {rule.rule}"
        found += [(path, method, rule) for method in METHODS]
    return found


def closed(app: Flask) -> list[tuple[str, str, Rule]]:
    """Those that need a token."""
    return [(path, method, rule) for path, method, rule in paths(app) if rule.endpoint not in OPEN]


def cookie_of(answer: TestResponse) -> str:
    """The value of the cookie that an answer sets."""
    return answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
