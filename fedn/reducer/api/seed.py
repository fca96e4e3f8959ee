"""`/seed`: the model that the trail begins with."""

from __future__ import annotations

import time

from flask import Blueprint, Request, redirect, request
from flask.typing import ResponseReturnValue

from fedn.aggregation.ranges import scan
from fedn.errors import BadInput, SeedMissing, SessionRunning
from fedn.model.safetensors import canonicalise, open_model
from fedn.model.schema import Limits
from fedn.reducer.api import Office, shown, wants_page
from fedn.reducer.api.uploads import received
from fedn.trail.records import lineage_of

FLAGS = {"": False, "false": False, "off": False, "true": True, "on": True}


def blueprint(office: Office) -> Blueprint:
    """The routes of the seed model."""
    routes, desk = Blueprint("seed", __name__), office.desk

    @routes.get("/seed")
    def show() -> ResponseReturnValue:
        """The seed model, or the form that uploads one."""
        seed = desk.trail.seed()
        if seed is None and not wants_page():
            raise SeedMissing("there is no seed model yet; POST a safetensors file to /seed")
        data = {"model": seed and seed["model"], "lineage": seed and lineage_of(seed)}
        return shown("seed.html", data | ({"running": running_session()} if wants_page() else {}))

    @routes.post("/seed")
    def plant() -> ResponseReturnValue:
        """Upload the seed model: safetensors, stored in canonical form under its sha256.

        A trail that has begun takes another one only with `new_lineage`, and not while a session runs.
        """
        limit = desk.settings.max_model_bytes
        with received(request, field="seed", folder=desk.uploads, limit=limit) as path:
            model = open_model(path, limits=Limits(max_bytes=limit))
            scan(model)  # training from NaN gives NaN: every update would be refused
            canonical = path.with_suffix(".canonical")
            try:
                digest = canonicalise(path, canonical)
                new_lineage = flag(request, "new_lineage")
                check(digest, new_lineage)
                desk.blobs.put(canonical, digest)
            finally:
                canonical.unlink(missing_ok=True)
        check(digest, new_lineage)  # a large model takes its time, and a session may have been started
        plant = desk.trail.begin_lineage if new_lineage else desk.trail.plant
        record = plant(digest, time=time.time())
        if wants_page():
            return redirect("/seed", 303)
        about = {"model": record["model"], "lineage": lineage_of(record)}
        return about | {"tensors": len(model.schema.tensors), "bytes": model.size}, 201

    def running_session() -> str | None:
        running = desk.sessions.active()
        return None if running is None else str(running["_id"])

    def check(digest: str, new_lineage: bool) -> None:
        if not new_lineage:
            desk.trail.check_seed(digest)
        elif (running := running_session()) is not None:
            raise SessionRunning(f"session {running} trains from the present lineage", session=running)

    return routes


def flag(sent: Request, name: str) -> bool:
    """A box of the form, or a word of the query; false when it is not there."""
    form = sent.form if sent.mimetype == "multipart/form-data" else {}  # else the body is the model
    word = form.get(name, sent.args.get(name, ""))
    if word not in FLAGS:
        raise BadInput(f"{name} is true or false, not {word[:80]!r}")
    return FLAGS[word]
