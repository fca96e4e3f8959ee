"""`/api/v1/trail` and `/api/v1/models`: read only; no route changes the trail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, render_template, request, send_file
from flask.typing import ResponseReturnValue

from fedn.errors import BadInput, TrailBroken
from fedn.reducer.api import Office, wants_page
from fedn.reducer.desk import Desk
from fedn.trail.file import MODELS
from fedn.trail.records import lineage_of


def blueprint(office: Office) -> Blueprint:
    """The routes of the model trail."""
    routes, desk = Blueprint("trail", __name__), office.desk

    @routes.get("/trail")
    @routes.get("/api/v1/trail")
    def records() -> ResponseReturnValue:
        """All records of the trail, oldest first."""
        return page(desk) if wants_page() else {"records": desk.trail.records()}

    @routes.post("/trail/verify")
    @routes.post("/api/v1/trail/verify")
    def verify() -> ResponseReturnValue:
        """Walk the whole trail and every blob, here; answers with the first thing that does not hold."""
        return verified_page(desk) if wants_page() else asdict(desk.verify())

    @routes.get("/api/v1/trail/export")
    def export() -> ResponseReturnValue:
        """The whole trail as one file, for `fedn trail verify FILE` (`?models=` all, latest or none)."""
        return exported(desk, request.args.get("models", "all"))

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


def page(desk: Desk, verified: dict[str, Any] | None = None) -> str:
    """The page of the trail, with what a verification has just found. As JSON a record is only what was hashed."""
    records = [record | {"lineage": lineage_of(record)} for record in desk.trail.records()]
    return render_template("trail.html", records=records, verified=verified)


def verified_page(desk: Desk) -> ResponseReturnValue:
    """The page with the answer."""
    try:
        found = desk.verify()
    except TrailBroken as error:
        return page(desk, {"holds": False, "sentence": f"The trail does not hold: {error.reason}."}), error.http
    counts = (found.records, "record"), (found.blobs, "blob"), (found.lineages, "lineage")
    records, blobs, lineages = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
    sentence = f"The trail holds: {records} in {lineages}, and {blobs}, were verified."
    return page(desk, {"holds": True, "sentence": sentence})


def exported(desk: Desk, given: str) -> Response:
    """The file as a stream of known length. Raises BadInput for an unknown choice of models."""
    models = next((choice for choice in MODELS if choice == given), None)
    if models is None:
        raise BadInput(f"models is one of {', '.join(MODELS)}, not {given[:80]!r}")
    made = desk.export(models)
    name = f"trail-{made.head.records}-{made.head.last[:12]}.tar"
    headers = {"Content-Length": str(made.size), "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(made.blocks(), mimetype="application/x-tar", headers=headers)
