"""The server's part of the job: NVFlare's own FedAvg, with the model made here and each round's end noted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.fedavg import FedAvg


class TimedFedAvg(FedAvg):
    """FedAvg whose model stays in memory; what NVFlare calls to store it takes the time."""

    def __init__(self, elements: int, layers: int, clock: str, num_clients: int, num_rounds: int) -> None:
        super().__init__(num_clients=num_clients, num_rounds=num_rounds, persistor_id="")
        self.elements = elements
        self.layers = layers
        self.clock = clock

    def load_model(self) -> FLModel:
        """Called once, when the job runs."""
        rng = np.random.default_rng(0)
        weights = {f"layer{i}": rng.standard_normal(self.elements, np.float32) for i in range(self.layers)}
        weights["layer0"][0] = 0
        self.note(replies=0, weights=weights)
        return FLModel(params=weights)

    def save_model(self, model: FLModel) -> None:
        """Called at the end of each round."""
        self.note(replies=self._received_count, weights=model.params)

    def note(self, *, replies: int, weights: dict[str, Any]) -> None:
        """Add a line."""
        value = float(next(iter(weights.values()))[0])
        with Path(self.clock).open("a") as file:
            file.write(json.dumps({"at": time.time(), "replies": replies, "value": value}) + "\n")
