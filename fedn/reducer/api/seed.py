"""`/seed`: the model that the trail begins with."""

from __future__ import annotations

import time

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from fedn.aggregation.ranges import scan
from fedn.errors import SeedMissing
from fedn.model.safetensors import canonicalise, open_model
from fedn.model.schema import Limits
from fedn.reducer.api import Office, shown, wants_page
from fedn.reducer.api.uploads import received


def blueprint(office: Office) -> Blueprint:
    """The routes of the seed model."""
    routes, desk = Blueprint("seed", __name__), office.desk

    @routes.get("/seed")
    def show() -> ResponseReturnValue:
        """The seed model, or the form that uploads one."""
        records = desk.state.find("trail", where={"seq": 0})
        if not records and not wants_page():
            raise SeedMissing("there is no seed model yet; POST a safetensors file to /seed")
        return shown("seed.html", {"model": records[0]["model"] if records else None})

    @routes.post("/seed")
    def plant() -> ResponseReturnValue:
        """Upload the seed model: safetensors, stored in canonical form under its sha256."""
        limit = desk.settings.max_model_bytes
        with received(request, field="seed", folder=desk.uploads, limit=limit) as path:
            model = open_model(path, limits=Limits(max_bytes=limit))
            scan(model)  # training from NaN gives NaN: every update would be refused
            canonical = path.with_suffix(".canonical")
            try:
                digest = canonicalise(path, canonical)
                desk.trail.check_seed(digest)
                desk.blobs.put(canonical, digest)
            finally:
                canonical.unlink(missing_ok=True)
        record = desk.trail.plant(digest, time=time.time())
        if wants_page():
            return redirect("/seed", 303)
        return {"model": record["model"], "tensors": len(model.schema.tensors), "bytes": model.size}, 201

    return routes
