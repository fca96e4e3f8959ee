"""What a session can set for its clients, and what holds when it does not."""

import json
import os
from pathlib import Path

DEFAULTS = {"epochs": 7, "batch_size": 128, "learning_rate": 0.003, "split": "iid", "alpha": 0.5}


def load_settings():
    """The defaults, overridden by the session's client settings."""
    path = os.environ.get("FEDN_CLIENT_SETTINGS")
    given = json.loads(Path(path).read_text()) if path else {}
    if unknown := given.keys() - DEFAULTS.keys():
        raise SystemExit(f"unknown client settings {sorted(unknown)}; there are {sorted(DEFAULTS)}")
    return DEFAULTS | given
