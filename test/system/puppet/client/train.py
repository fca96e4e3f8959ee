"""Train, or fail as the session's settings ask of this part: python train.py <model-in> <model-out>

Settings: ``{"folder": …, "train": {"<part>": "<move>"}}``. A move with ``@<round>`` is made in that round only;
who has no move trains. Every run adds a line to ``<folder>/runs``; the move "wait" waits for ``<folder>/go``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fedn.model.helpers import numpy as helper

PART, ROUND, SEED = (int(os.environ[name]) for name in ("FEDN_PART", "FEDN_ROUND", "FEDN_SEED"))
SETTINGS = json.loads(Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text())

Model = dict[str, np.ndarray[Any, Any]]


def trained(model: Model) -> Model:
    step = np.random.default_rng(SEED).normal(size=8)
    return model | {"w": (model["w"] + step).astype(np.float32), "steps": model["steps"] + 1}


def save(out: str, model: Model) -> None:
    helper.save(out, model, num_examples=PART + 1, metrics={"training_loss": 1 / ROUND})


def exits(out: str, model: Model) -> None:
    print("a line before the end", file=sys.stderr)
    print("the puppet fell over", file=sys.stderr)
    sys.exit(3)


def garbage(out: str, model: Model) -> None:
    save(out, model)
    Path(out).write_bytes(b"this is no model")


def examples(value: Any) -> Any:
    def move(out: str, model: Model) -> None:
        save(out, model)
        Path(f"{out}-metadata").write_text(json.dumps({} if value is None else {"num_examples": value}))

    return move


def waits(out: str, model: Model) -> None:
    Path(SETTINGS["folder"], f"waits-{PART}").touch()
    while not Path(SETTINGS["folder"], "go").exists():
        time.sleep(0.02)
    save(out, trained(model))


def hangs(out: str, model: Model) -> None:
    print("the puppet sleeps", file=sys.stderr, flush=True)
    while True:
        time.sleep(3600)


def killed(out: str, model: Model) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(out: str, model: Model) -> None:
    before = Path(SETTINGS["folder"], f"killed-{PART}")
    if not before.exists():
        before.touch()
        killed(out, model)
    save(out, trained(model))


def eats(out: str, model: Model) -> None:
    eaten = []
    while True:
        eaten.append(b"x" * 2**24)


def eats_once(out: str, model: Model) -> None:
    before = Path(SETTINGS["folder"], f"eaten-{PART}")
    if not before.exists():
        before.touch()
        eats(out, model)
    save(out, trained(model))


MOVES = {
    "train": lambda out, model: save(out, trained(model)),
    "exit": exits,
    "silent": lambda out, model: None,
    "garbage": garbage,
    "names": lambda out, model: save(out, {"v": model["w"], "steps": model["steps"]}),
    "shapes": lambda out, model: save(out, model | {"w": model["w"][None]}),
    "dtypes": lambda out, model: save(out, model | {"w": model["w"].astype(np.float64)}),
    "nan": lambda out, model: save(out, model | {"w": model["w"] * np.nan}),
    "no examples": examples(None),
    "zero examples": examples(0),
    "many examples": examples("many"),
    "wait": waits,
    "hang": hangs,
    "kill": killed,
    "kill once": killed_once,
    "eat": eats,
    "eat once": eats_once,
}


def main(model_in: str, model_out: str) -> None:
    name, _, only = SETTINGS.get("train", {}).get(str(PART), "train").partition("@")
    if only and int(only) != ROUND:
        name = "train"
    if "folder" in SETTINGS:
        with Path(SETTINGS["folder"], "runs").open("a") as runs:
            runs.write(json.dumps({"part": PART, "round": ROUND, "seed": SEED, "pid": os.getpid()}) + "\n")
    MOVES[name](model_out, helper.load(model_in))


if __name__ == "__main__":
    main(*sys.argv[1:])
