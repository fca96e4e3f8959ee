"""The REST interface: one module per noun, each a blueprint made from the desk and the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Request, render_template, request
from flask.typing import ResponseReturnValue

from fedn.errors import BadInput
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine

FIELDS_BYTES = 2**20


@dataclass(frozen=True)
class Office:
    """What a blueprint works with."""

    desk: Desk
    engine: Engine


def wants_page() -> bool:
    """True for a browser; programs get JSON unless they ask for HTML first."""
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return best == "text/html" and request.accept_mimetypes["text/html"] > request.accept_mimetypes["application/json"]


def fields_of(sent: Request) -> dict[str, Any]:
    """The body as a mapping: a JSON object, or a form, of at most 1 MiB."""
    if (sent.content_length or 0) > FIELDS_BYTES or "Transfer-Encoding" in sent.headers:
        raise BadInput(f"the body must say its length, which is at most {FIELDS_BYTES} bytes")
    if sent.is_json:
        body = sent.get_json(silent=True)
        if not isinstance(body, dict):
            raise BadInput("the body must be a JSON object")
        return body
    return dict(sent.form.items())


def shown(template: str, data: dict[str, Any], status: int = 200) -> ResponseReturnValue:
    """The data as JSON, or as a page for a browser."""
    if wants_page():
        return render_template(template, **data), status
    return data, status
