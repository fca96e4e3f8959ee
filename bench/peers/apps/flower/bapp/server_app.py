"""The server: FedAvg over all clients without evaluation; writes the time at which each round had ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()
LOOK_S = 0.2


class Timed(FedAvg):
    """FedAvg that notes when it has aggregated, and the value that an element then has."""

    def __init__(self, clock: Path, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Aggregate, then note it."""
        answers = list(replies)
        weights, metrics = super().aggregate_train(server_round, answers)
        value = None if weights is None else float(next(iter(weights.values())).numpy()[0])
        note(self._clock, at=time.time(), replies=len(answers), value=value)
        return weights, metrics


def note(clock: Path, **what: object) -> None:
    """Add a line."""
    with clock.open("a") as file:
        file.write(json.dumps(what) + "\n")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the clients, then run the rounds."""
    config = context.run_config
    clients, clock = int(config["clients"]), Path(str(config["clock"]))
    rng, elements = np.random.default_rng(0), int(config["elements"])
    layers = {f"layer{i}": rng.standard_normal(elements, np.float32) for i in range(int(config["layers"]))}
    layers["layer0"][0] = 0
    weights = ArrayRecord({name: Array(layer) for name, layer in layers.items()})
    while len(list(grid.get_node_ids())) < clients:
        time.sleep(LOOK_S)
    strategy = Timed(
        clock, fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients
    )
    note(clock, at=time.time(), replies=0, value=0.0)
    strategy.start(grid=grid, initial_arrays=weights, num_rounds=int(config["num-server-rounds"]), timeout=3600)
