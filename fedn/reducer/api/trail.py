"""`/api/v1/trail` and `/api/v1/models`: read only; no route changes the trail."""

from __future__ import annotations

from flask import Blueprint, send_file
from flask.typing import ResponseReturnValue

from fedn.reducer.api import Office, shown


def blueprint(office: Office) -> Blueprint:
    """The routes of the model trail."""
    routes, desk = Blueprint("trail", __name__), office.desk

    @routes.get("/trail")
    @routes.get("/api/v1/trail")
    def records() -> ResponseReturnValue:
        """All records of the trail, oldest first."""
        return shown("trail.html", {"records": desk.trail.records()})

    @routes.get("/api/v1/models/<digest>")
    def model(digest: str) -> ResponseReturnValue:
        """A model of the trail (safetensors) by its sha256."""
        stream = desk.verified(digest)
        return send_file(stream, mimetype="application/octet-stream", download_name=f"{digest[:12]}.safetensors")

    @routes.get("/api/v1/receipts/<digest>")
    def receipt(digest: str) -> ResponseReturnValue:
        """A round's receipt (JSON) by its sha256."""
        stream = desk.verified(digest)
        return send_file(stream, mimetype="application/json", download_name=f"{digest[:12]}.json")

    return routes
