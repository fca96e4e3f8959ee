"""Runs the session: `python session.py PORT CLIENTS ELEMENTS LAYERS ROUNDS CLOCK`.

Notes when each model was committed.
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
import undotted  # noqa: F401 - before anything connects

from fedn.common.config import get_network_config, get_statestore_config
from fedn.network.api.client import APIClient
from fedn.network.storage.dbconnection import DatabaseConnection
from fedn.network.storage.statestore.stores.shared import SortOrder
from fedn.utils.helpers.helpers import get_helper

LOOK_S = 0.5
ROUND_S = 3600


def main() -> None:
    """Seed, wait for the clients, start, wait for the end."""
    port, clients, elements, layers, rounds = (int(word) for word in sys.argv[1:6])
    clock, url = Path(sys.argv[6]), f"http://127.0.0.1:{port}/api/v1"
    api, helper = APIClient("127.0.0.1", port), get_helper("numpyhelper")
    store = DatabaseConnection(get_statestore_config(), get_network_config())
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(elements, np.float32) for _ in range(layers)]
    weights[0][0] = 0
    helper.save(weights, "seed.npz")
    with tarfile.open("package.tgz", "w:gz"):  # clients train by the API; the controller wants one all the same
        pass
    print(api.set_active_package("package.tgz", "numpyhelper", "bench"))
    print(api.set_active_model("seed.npz"))
    seed = store.model_store.list(1, 0, "committed_at", SortOrder.ASCENDING)[0].model_id
    session = create(url, seed, clients, rounds)
    while True:  # a client counts once the combiner has its first heartbeat
        began = time.time()
        answer = requests.post(f"{url}/sessions/start", json={"session_id": session, "rounds": rounds}, timeout=60)
        if answer.ok:
            break
        if "available clients" not in answer.text:
            sys.exit(answer.text)
        time.sleep(LOOK_S)
    while store.session_store.get(session).status not in ("Finished", "Failed"):
        time.sleep(LOOK_S)
    made = store.model_store.list(0, 0, "committed_at", SortOrder.ASCENDING, session_id=session)
    lines = [{"at": began, "replies": 0, "value": 0.0}]
    for model, replies in zip(made, updates(store), strict=True):
        api.download_model(model.model_id, "model.npz")
        value = float(helper.load("model.npz")[0][0])
        lines.append({"at": model.committed_at.timestamp(), "replies": replies, "value": value})
    clock.write_text("".join(json.dumps(line) + "\n" for line in lines))


def create(url: str, seed: str, clients: int, rounds: int) -> str:
    """A session's id. Its own client leaves out `rounds`, without which the store refuses a session."""
    config = {
        "aggregator": "fedavg",
        "aggregator_kwargs": "{}",
        "round_timeout": ROUND_S,
        "buffer_size": -1,
        "rounds": rounds,
        "model_id": seed,
        "delete_models_storage": True,
        "clients_required": clients,
        "requested_clients": clients,
        "validate": False,
        "helper_type": "numpyhelper",
    }
    body = {"name": "bench", "seed_model_id": seed, "session_config": config}
    answer = requests.post(f"{url}/sessions/", json=body, timeout=60)
    if not answer.ok:
        sys.exit(answer.text)
    return str(answer.json()["session_id"])


def updates(store: Any) -> list[int]:
    """How many updates each round aggregated."""
    found = store.round_store.list(0, 0, "committed_at", SortOrder.ASCENDING)
    return [sum(part.data.aggregation_time.nr_aggregated_models for part in each.combiners) for each in found]


if __name__ == "__main__":
    main()
