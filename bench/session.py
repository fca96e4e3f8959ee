"""A session of a benchmark: a seed model and a package that nobody unpacks, and rounds until they are done."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.network import wait_until
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import from_code
from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project

MANIFEST = "name: scripted\npackage: .\nentry_points:\n  train: scripted\n  validate: scripted\n"
LOOK_S = 0.25  # between looks at the session, which cost the reducer time too


def plant(place: Path, api: ReducerApi, seed: Path) -> None:
    """Give the reducer a seed model, and a package for clients that follow a script."""
    package, project = place / "package", place / "project"
    project.mkdir()
    (project / "fedn.yaml").write_text(MANIFEST)
    create(load_project(project), package)
    api.upload("/seed", seed)
    api.upload("/context", package)


def come_up(processes: Processes, api: ReducerApi, *, combiners: int, clients: int) -> None:
    """Wait until so many are there."""

    def there() -> bool:
        seen = api.get("/api/v1/network")
        return (sum(c["up"] for c in seen["combiners"]), seen["connected"]) == (combiners, clients)

    wait_until(there, processes)


def train(
    api: ReducerApi, *, rounds: int, clients: int, validate: bool, timeout_s: float = 600.0, look_s: float = LOOK_S
) -> dict[str, Any]:
    """The session as it has finished, with every round. Raises what it failed for, and when a client was missing.

    Meanwhile the trail alone is looked at, for which the reducer asks no combiner.
    """
    options = {"rounds": rounds, "clients_required": clients, "validate": validate, "seed": 1, "attempts": 1}
    session = api.post("/start", options | {"round_timeout": timeout_s})["session"]
    while len(ends(api)) < rounds and _active(api, session):
        time.sleep(look_s)
    while (found := api.get(f"/api/v1/sessions/{session}"))["ended"] is None:
        time.sleep(LOOK_S)
    if found["status"] != "finished":
        raise from_code(found["code"], found["reason"])
    done: dict[str, Any] = found
    return done


def _active(api: ReducerApi, session: str) -> bool:
    sessions: list[dict[str, Any]] = api.get("/api/v1/sessions")["sessions"]
    return any(each["id"] == session and each["ended"] is None for each in sessions)


def ends(api: ReducerApi) -> list[float]:
    """When each round was committed, in seconds since the epoch."""
    return [record["time"] for record in api.get("/api/v1/trail")["records"] if record["round"]]


def seconds_between(times: list[float]) -> list[float]:
    """Of each round but the first, from the end of the one before it."""
    return [after - before for before, after in pairwise(times)]


def mlp(path: Path, width: int, *, inputs: int = 13, layers: int = 101) -> int:
    """Write the model of a multi-layer perceptron with one output and so many hidden layers; returns its size."""
    sizes = [inputs, *[width] * layers, 1]
    values = np.random.default_rng(0)
    tensors = {}
    for k, (into, out) in enumerate(pairwise(sizes)):
        tensors[f"{k:03d}.weight"] = values.standard_normal((out, into), np.float32)
        tensors[f"{k:03d}.bias"] = np.zeros(out, np.float32)
    write_model(path, tensors)
    return sum(tensor.size for tensor in tensors.values())
