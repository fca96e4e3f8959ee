"""FEDn 0.33: controller, one combiner, one process per client, on a MongoDB stand-in and an S3 server; no TLS.

The stores are those that this project's own tests use (nx-27017, rclone); a round asks them for little but models.
With PostgreSQL, its other choice, its combiner cannot write a round down (`Not a boolean value: 'True'`), and stops.

Clients use its client API; models are its `numpyhelper` files (compressed npz). A round is, by the controller's clock,
from one commit of a global model to the next; the first begins when the session is asked for. `server` is the
controller with its workers, and the combiner; the two stores are not counted. `client` is one client.

Models are random numbers here as everywhere in this benchmark: its time is that of compressing them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from bench.peers.clock import rounds
from bench.peers.stage import Stage, Work, free_ports, listens

APP = Path(__file__).with_name("apps") / "fedn_old"
USER, PASSWORD = "fedn_admin", "password"


def run(work: Work, stage: Stage) -> list[float]:
    """Each round's seconds."""
    api, combiner, state, blobs, nobody = free_ports(5)
    settings = stage.folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(configuration(api=api, state=state, blobs=blobs)))
    environ = {
        "HOME": str(stage.folder),
        "STATESTORE_CONFIG": str(settings),
        "MODELSTORAGE_CONFIG": str(settings),
        "FEDN_MODEL_DIR": str(stage.folder / "models"),
        "FEDN_CONNECT_API_SECURE": "false",
        "HOOK_SERVICE_HOST": f"127.0.0.1:{nobody}",  # an optional part, which nothing here needs
    }
    _state(stage, state)
    _blobs(stage, blobs)
    stage.start("controller", [stage.python, APP / "server.py", "controller", "start"], role="server", environ=environ)
    stage.until(lambda: listens(api), "the controller listens")
    at = ["--host", "127.0.0.1", "--port", combiner, "--name", "combiner", "--max_clients", work.clients]
    stage.start("combiner", [stage.python, APP / "server.py", "combiner", "start", *at], role="server", environ=environ)
    stage.until(lambda: listens(combiner), "the combiner listens")
    for i in range(work.clients):
        own = stage.folder / f"client-{i}"
        own.mkdir()
        words = [stage.python, APP / "client.py", f"http://127.0.0.1:{api}/", i]
        stage.start(f"client-{i}", words, role=f"client-{i}", environ=environ, cwd=own)
    clock = stage.folder / "clock"
    job = [api, work.clients, work.elements, work.layers, work.rounds, clock]
    stage.start("session", [stage.python, APP / "session.py", *job], environ=environ)
    return rounds(clock, work, stage)


def configuration(*, api: int, state: int, blobs: int) -> dict[str, Any]:
    """The one file that all of its servers read."""
    return {
        "network_id": "bench",
        "controller": {"host": "127.0.0.1", "port": api, "debug": False},
        "statestore": {
            "type": "MongoDB",
            "mongo_config": {"host": "127.0.0.1", "port": state},
        },
        "storage": {
            "storage_type": "BOTO3",
            "storage_config": {
                "storage_endpoint": f"http://127.0.0.1:{blobs}",
                "storage_access_key": USER,
                "storage_secret_key": PASSWORD,
                "storage_bucket": "models",
                "context_bucket": "context",
                "prediction_bucket": "prediction",
                "storage_secure_mode": False,
                "storage_verify_ssl": False,
            },
        },
    }


def _state(stage: Stage, port: int) -> None:
    """A server of the MongoDB wire protocol."""
    program = Path(sys.executable).with_name("nx-27017")
    files = ["--log-file", stage.folder / "state.log", "--pid-file", stage.folder / "state.pid"]
    stage.start("state", [program, "--data-dir", stage.folder / "state", "-p", port, *files])
    stage.until(lambda: listens(port), "the state store listens")


def _blobs(stage: Stage, port: int) -> None:
    """An S3 server over a folder."""
    folder = stage.folder / "blobs"
    folder.mkdir()
    program = Path(sys.executable).with_name("rclone")
    flags = ["--config", "", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{USER},{PASSWORD}", folder]
    s3 = stage.start("s3", [program, "serve", "s3", *flags])
    stage.until(lambda: re.search("Starting s3 server", s3.text), "the S3 server listens")
