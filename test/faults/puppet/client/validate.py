"""Measure the model: python validate.py <model-in> <metrics-out.json>"""

from __future__ import annotations

import os
import sys

from fedn.model.helpers import numpy as helper
from test.faults.control import pass_by

PART, ROUND = (int(os.environ[name]) for name in ("FEDN_PART", "FEDN_ROUND"))


def main(model_in: str, metrics_out: str) -> None:
    pass_by("validate", round=ROUND)
    steps = int(helper.load(model_in)["steps"][0])
    helper.save_metrics(metrics_out, {"loss": 1 / (1 + steps)}, num_examples=PART + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
