"""`/context`: the compute package that runs on the clients."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request, send_file
from flask.typing import ResponseReturnValue

from fedn.errors import AlreadyExists, PackageMissing, PackageTooLarge, SessionRunning, VersionConflict
from fedn.package.archive import inspect
from fedn.package.project import UNNAMED
from fedn.reducer.api import Office, shown, wants_page
from fedn.reducer.api.uploads import received
from fedn.storage.state import State


def blueprint(office: Office) -> Blueprint:
    """The routes of the compute package."""
    routes, desk = Blueprint("context", __name__), office.desk

    @routes.get("/context")
    def show() -> ResponseReturnValue:
        """The compute package, or the form that uploads one."""
        package = desk.state.get("context", "package")
        if package is None and not wants_page():
            raise PackageMissing("there is no compute package yet; POST one to /context")
        return shown("context.html", {"package": package and described(package)})

    @routes.get("/context/archive")
    def download() -> ResponseReturnValue:
        """The compute package itself."""
        package = desk.state.get("context", "package")
        if package is None:
            raise PackageMissing("there is no compute package yet; POST one to /context")
        stream = desk.verified(package["digest"])
        return send_file(stream, mimetype="application/x-tar", download_name="package.tar")

    @routes.post("/context")
    def upload() -> ResponseReturnValue:
        """Upload the compute package; it replaces the one before, but not while a session runs."""
        running = desk.sessions.active()
        if running is not None:
            raise SessionRunning(f"session {running['_id']} uses the package", session=running["_id"])
        limit = desk.settings.max_package_bytes
        with received(request, field="package", folder=desk.uploads, limit=limit, too_large=PackageTooLarge) as path:
            info = inspect(path)
            desk.blobs.put(path, info.digest)
        entry_points = {name: list(entry.command) for name, entry in info.manifest.entry_points.items()}
        described_as = {"name": info.manifest.name or UNNAMED, "size": info.size, "entry_points": entry_points}
        keep(desk.state, {"_id": "package", "digest": info.digest} | described_as)
        if wants_page():
            return redirect("/context", 303)
        return {"digest": info.digest} | described_as, 201

    return routes


def described(package: dict[str, Any]) -> dict[str, Any]:
    """The package's document without the store's own fields."""
    return {key: value for key, value in package.items() if not key.startswith("_")}


def keep(state: State, document: dict[str, Any]) -> None:
    """Insert or replace the one document."""
    while True:
        present = state.get("context", document["_id"])
        try:
            if present is None:
                state.insert("context", document)
            else:
                state.replace("context", document | {"_version": present["_version"]})
        except (AlreadyExists, VersionConflict):
            continue
        return
