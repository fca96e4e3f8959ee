"""Load and save a model of 100 MB by each helper, in a process of its own: seconds, and anonymous memory.

The memory counts from before there was a model, with the framework imported and the helper used once: it holds the
model itself, which the helper fills and writes, and whatever the helper adds. Keras runs on TensorFlow.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.anonymous import peak
from bench.figure import Figure
from fedn.model import helpers

SIZE = 100_000_000
RUNS = 7
LAYERS = 4  # square ones, of float32


def run(*, size: int = SIZE, runs: int = RUNS) -> list[Figure]:
    """Medians of `runs` with the file in the page cache, and the highest peak of memory."""
    figures = []
    for name in MAKERS:
        seen = _measure(name, size, runs)
        both = median(map(sum, zip(seen["load"], seen["save"], strict=True)))
        parts = f"load {median(seen['load']):.3f} s, save {median(seen['save']):.3f} s"
        what = f"{name}, {size / 1e6:g} MB"
        grown = seen["grown"] / seen["size"]
        figures += [
            Figure(f"load and save, {what}", both, "s", 0.5, note=parts),
            Figure(f"its peak of memory, {name}", grown, "×", 2.2, note=f"{seen['grown'] / 1e6:.0f} MB, model and all"),
        ]
    return figures


def _numpy(width: int) -> dict[str, np.ndarray[Any, Any]]:
    # written to: what was never written takes no memory
    return {f"{i}.{part}": np.ones(shape, np.float32) for i in range(LAYERS) for part, shape in _shapes(width).items()}


def _torch(width: int) -> Any:
    import torch

    return torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(LAYERS)))


def _sklearn(width: int) -> Any:
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(hidden_layer_sizes=(width,) * (LAYERS - 1))


def _keras(width: int) -> Any:
    import keras

    return keras.Sequential([keras.layers.Input((width,)), *(keras.layers.Dense(width) for _ in range(LAYERS))])


MAKERS: dict[str, Callable[[int], Any]] = {"numpy": _numpy, "torch": _torch, "sklearn": _sklearn, "keras": _keras}


def _shapes(width: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (width, width), "bias": (width,)}


def _measure(name: str, size: int, runs: int) -> dict[str, Any]:
    """What the helper's process found; another makes the file, as that may take more memory than to load it."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    width = str(max(2, math.isqrt(size // 4 // LAYERS)))
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as folder:
        for task in ("seed", str(runs)):
            command = [sys.executable, "-m", "bench.helpers", name, width, folder, task]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _seed(name: str, width: int, path: Path) -> None:
    model = MAKERS[name](width)
    if name == "sklearn":
        from fedn.model.helpers.sklearn import initialise

        initialise(model, n_features=width, n_outputs=width)
    helpers.get(name).save(path, model)


def _watch(name: str, width: int, folder: Path, runs: int) -> dict[str, Any]:
    helper = helpers.get(name)
    load_s: list[float] = []
    save_s: list[float] = []
    _seed(name, 2, folder / "tiny")
    helper.load(folder / "tiny", into=MAKERS[name](2))
    with peak(every_s=0.001) as memory:
        model = MAKERS[name](width)
        for _ in range(runs):
            if name == "sklearn":  # its template is part of a load
                model = MAKERS[name](width)
            (folder / "out").unlink(missing_ok=True)  # a task's output is a new file
            began = time.perf_counter()
            helper.load(folder / "seed", into=model)
            loaded = time.perf_counter()
            helper.save(folder / "out", model, num_examples=1)
            load_s.append(loaded - began)
            save_s.append(time.perf_counter() - loaded)
    return {"load": load_s, "save": save_s, "grown": memory.grown, "size": (folder / "out").stat().st_size}


def _main(name: str, width: int, folder: Path, task: str) -> None:
    if task == "seed":
        _seed(name, width, folder / "seed")
    else:
        print(json.dumps(_watch(name, width, folder, int(task))))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
