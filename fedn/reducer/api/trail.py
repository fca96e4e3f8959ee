"""`/api/v1/trail` and `/api/v1/models`: read only; no route changes the trail."""

from __future__ import annotations

from flask import Blueprint, Response, request, send_file
from flask.typing import ResponseReturnValue

from fedn.errors import BadInput
from fedn.reducer.api import Office, shown, wants_page
from fedn.trail.file import MODELS
from fedn.trail.records import lineage_of


def blueprint(office: Office) -> Blueprint:
    """The routes of the model trail."""
    routes, desk = Blueprint("trail", __name__), office.desk

    @routes.get("/trail")
    @routes.get("/api/v1/trail")
    def records() -> ResponseReturnValue:
        """All records of the trail, oldest first."""
        records = desk.trail.records()
        if wants_page():  # as JSON a record is what was hashed, and nothing else
            records = [record | {"lineage": lineage_of(record)} for record in records]
        return shown("trail.html", {"records": records})

    @routes.get("/api/v1/trail/export")
    def export() -> ResponseReturnValue:
        """The whole trail as one file, for `fedn trail verify FILE` (`?models=` all, latest or none)."""
        given = request.args.get("models", "all")
        models = next((choice for choice in MODELS if choice == given), None)
        if models is None:
            raise BadInput(f"models is one of {', '.join(MODELS)}, not {given[:80]!r}")
        made = desk.export(models)
        name = f"trail-{made.head.records}-{made.head.last[:12]}.tar"
        headers = {"Content-Length": str(made.size), "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(made.blocks(), mimetype="application/x-tar", headers=headers)

    @routes.get("/api/v1/models/<digest>")
    def model(digest: str) -> ResponseReturnValue:
        """A model of the trail (safetensors) by its sha256."""
        stream = desk.blobs.open(digest)
        return send_file(stream, mimetype="application/octet-stream", download_name=f"{digest[:12]}.safetensors")

    @routes.get("/api/v1/receipts/<digest>")
    def receipt(digest: str) -> ResponseReturnValue:
        """A round's receipt (JSON) by its sha256."""
        stream = desk.blobs.open(digest)
        return send_file(stream, mimetype="application/json", download_name=f"{digest[:12]}.json")

    return routes
