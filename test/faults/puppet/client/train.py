"""Train: python train.py <model-in> <model-out>. What comes out depends on the seed alone.

It notes that it begins, and keeps a copy of its output: the judge recomputes the mean.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from fedn.model.helpers import numpy as helper
from test.faults.control import FOLDER, note, pass_by

PART, ROUND, SEED = (int(os.environ[name]) for name in ("FEDN_PART", "FEDN_ROUND", "FEDN_SEED"))
SESSION, CONTROL = os.environ["FEDN_SESSION"], Path(os.environ[FOLDER])


def main(model_in: str, model_out: str) -> None:
    note("began", SESSION, ROUND)
    model = helper.load(model_in)
    pass_by("train", round=ROUND)
    step = np.random.default_rng(SEED).normal(size=model["w"].shape)
    trained = {"w": (model["w"] + step).astype(np.float32), "steps": model["steps"] + 1}
    helper.save(model_out, trained, num_examples=PART + 1, metrics={"training_loss": 1 / ROUND})
    digest = hashlib.sha256(Path(model_out).read_bytes()).hexdigest()
    with suppress(FileExistsError):
        os.link(model_out, CONTROL / "kept" / digest)


if __name__ == "__main__":
    main(*sys.argv[1:])
