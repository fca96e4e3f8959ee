"""What the tests of the reducer's routes send, and the one form of a refusal."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project
from test.unit.client_bench import FEDN_YAML

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LIMIT = 64 * 1024


def model(folder: Path, *, value: float = 0.0, size: int = 4) -> bytes:
    path = folder / "model"
    write_model(path, {"w": np.full(size, value, np.float32)})
    return path.read_bytes()


def package(folder: Path) -> bytes:
    project = folder / "project"
    (project / "client").mkdir(parents=True, exist_ok=True)
    (project / "fedn.yaml").write_text(FEDN_YAML)
    (project / "client" / "puppet.py").write_text("")
    archive = folder / "package.tar"
    create(load_project(project), archive)
    return archive.read_bytes()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def error(response: Any, status: int) -> tuple[str, str]:
    """The error's code and reason; the form is the same for every route."""
    assert response.status_code == status, response.text
    assert response.is_json
    assert set(response.json) == {"error"}
    assert set(response.json["error"]) == {"code", "reason", "detail"}
    return response.json["error"]["code"], response.json["error"]["reason"]


def ready(client: Any, folder: Path) -> None:
    """Seed and package are there."""
    assert client.post("/seed", data=model(folder)).status_code == 201
    assert client.post("/context", data=package(folder)).status_code == 201
