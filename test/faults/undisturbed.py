"""The model that a session of the puppet must end with, whatever went wrong on the way: computed here (I3, I4)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from fedn.aggregation.fedavg import fedavg
from fedn.aggregation.fold import Contribution, check_update
from fedn.model.safetensors import load_tensors, open_model, write_model
from fedn.reducer.participants import task_seed
from test.system.network import Network

SEED = 7  # of `Network.start`


def as_if_undisturbed(net: Network, session: dict[str, Any], folder: Path, *, names: Collection[str]) -> None:
    """Assert that each round's model is the one of these clients' updates."""
    parts = net.parts()
    first = net.round(session["id"], 1)["base"]
    path = folder / first
    path.write_bytes(net.http.get(f"{net.address}/api/v1/models/{first}").content)
    for done in session["rounds"]:
        updates = [_update(path, folder, number=done["round"], part=parts[name]) for name in sorted(names)]
        out = folder / f"round-{done['round']}"
        assert fedavg(updates, schema=open_model(path).schema, out=out) == done["model"], f"round {done['round']}"
        path = out


def _update(base: Path, folder: Path, *, number: int, part: int) -> Contribution:
    """What the puppet trains."""
    model = load_tensors(base)
    step = np.random.default_rng(task_seed(seed=SEED, round_number=number, part=part)).normal(size=8)
    path = folder / f"update-{number}-{part}"
    write_model(path, model | {"w": (model["w"] + step).astype(np.float32), "steps": model["steps"] + 1})
    update = open_model(path)
    return Contribution(update, part + 1, check_update(update, update.schema))
