"""Apply the model: python predict.py <model-in> <predictions-out.json>

With ``{"predict": {"<part>": "<move>"}}`` in the settings, that part fails: "exit", "garbage" or "large".
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fedn.model.helpers import numpy as helper

PART = os.environ["FEDN_PART"]
SETTINGS = json.loads(Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text())


def main(model_in: str, predictions_out: str) -> None:
    move, out = SETTINGS.get("predict", {}).get(PART), Path(predictions_out)
    if move == "exit":
        sys.exit("the puppet cannot predict")
    if move == "garbage":
        out.write_text("{'this': is no JSON}")
    elif move == "large":
        out.write_text(json.dumps(["x" * 2**20]))
    else:
        steps = int(helper.load(model_in)["steps"][0])
        out.write_text(json.dumps({"part": int(PART), "steps": steps, "times": SETTINGS.get("times", 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
