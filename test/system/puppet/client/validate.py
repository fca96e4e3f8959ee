"""Measure the model: python validate.py <model-in> <metrics-out.json>

With ``{"validate": {"<part>": "exit"}}`` in the session's settings, that part fails.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fedn.model.helpers import numpy as helper

PART = os.environ["FEDN_PART"]
SETTINGS = json.loads(Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text())


def main(model_in: str, metrics_out: str) -> None:
    if SETTINGS.get("validate", {}).get(PART) == "exit":
        sys.exit("the puppet cannot measure")
    steps = int(helper.load(model_in)["steps"][0])
    metrics = {"loss": 1 / (1 + steps), "accuracy": steps / (1 + steps)}
    helper.save_metrics(metrics_out, metrics, num_examples=int(PART) + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
