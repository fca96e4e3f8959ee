"""`/api/v1/predictions`: ask clients to apply a model, and see what they wrote."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from fedn.errors import BadInput, NotFound, PackageMissing, PredictMissing, SeedMissing, SessionRunning
from fedn.reducer.api import Office, fields_of
from fedn.reducer.desk import Desk
from fedn.reducer.prediction_views import client_views, prediction_view, whole
from fedn.reducer.predictions import Asked


def blueprint(office: Office) -> Blueprint:
    """The routes of predictions."""
    routes, desk, engine = Blueprint("predictions", __name__), office.desk, office.engine

    @routes.post("/api/v1/predictions")
    def ask() -> ResponseReturnValue:
        """Ask for a prediction (`model`, `clients`, `settings`, `round_timeout`, `seed`); answers 202 with its id."""
        asked = Asked.parse(fields_of(request))
        model, package = model_of(desk, asked.model), package_of(desk)
        refuse_beside_a_session(desk)
        prediction = desk.predictions.create(asked, model=model, package=package)
        try:
            refuse_beside_a_session(desk)  # it may have begun at this very moment
        except SessionRunning as error:
            if desk.predictions.refuse(prediction["_id"], error):
                raise
        engine.wake()
        return {"prediction": prediction["_id"], "model": model}, 202

    @routes.get("/api/v1/predictions")
    def listed() -> ResponseReturnValue:
        """The newest predictions, newest first, without their clients."""
        return {"predictions": [prediction_view(document) for document in desk.predictions.newest()]}

    @routes.get("/api/v1/predictions/<prediction_id>")
    def one(prediction_id: str) -> ResponseReturnValue:
        """One prediction with a line per client and, but for `?data=false`, the JSON that each wrote, in `data`."""
        document = desk.predictions.get(prediction_id)
        wants_data = request.args.get("data", "true")
        if wants_data not in ("true", "false"):
            raise BadInput(f"data is true or false, not {wants_data[:80]!r}")
        lines = client_views(desk, document)
        if wants_data == "false":
            return prediction_view(document) | {"clients": lines}
        return Response(whole(desk, document, lines), mimetype="application/json")

    return routes


def model_of(desk: Desk, given: str) -> str:
    """The id of the model that is meant. Raises SeedMissing, ModelMissing, NotFound."""
    if given == "latest":
        latest = desk.check_newest()
        if latest is None:
            raise SeedMissing("there is no seed model; upload one at /seed")
        return str(latest["model"])
    if not desk.trail.holds(given):
        raise NotFound(f"the trail has no model {given[:80]!r}")
    return given


def package_of(desk: Desk) -> str:
    """The digest of the compute package. Raises PackageMissing, PredictMissing."""
    package: dict[str, Any] | None = desk.state.get("context", "package")
    if package is None:
        raise PackageMissing("there is no compute package; upload one at /context")
    if "predict" not in package.get("entry_points", ()):
        raise PredictMissing(f"the compute package {package['name']!r} has no entry point 'predict'")
    return str(package["digest"])


def refuse_beside_a_session(desk: Desk) -> None:
    """A prediction must not take clients from a session. Raises SessionRunning."""
    running = desk.sessions.active()
    if running is not None:
        raise SessionRunning(f"session {running['_id']} is running", session=running["_id"])
