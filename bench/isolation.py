"""What a task costs beyond its training: a script that imports a framework, loads a small model and saves it.

Per framework and isolation, the median from asking for the run to its end; a worker's first task, which pays for the
imports, is not counted. Each framework is measured in a process of its own, for `inline` imports it there.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.figure import Figure
from fedn.client.inline import Inline
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Run
from fedn.client.workers import Workers
from fedn.model.safetensors import write_model
from fedn.package.entry_point import ISOLATIONS, EntryPoint, Isolation

FRAMEWORKS = {"numpy": "numpy", "scikit-learn": "sklearn.linear_model", "PyTorch": "torch", "Keras": "keras"}
TASKS = {"process": 5, "worker": 20, "inline": 20}
COMMAND = ("python", "task.py")
SCRIPT = """\
import sys
import {module}
from fedn.model.helpers import numpy as helper
model_in, model_out = sys.argv[1:]
helper.save(model_out, helper.load(model_in), num_examples=1)
"""


def run(frameworks: dict[str, str] = FRAMEWORKS) -> list[Figure]:
    """Milliseconds of a task, per framework and isolation."""
    figures = []
    for framework, module in frameworks.items():
        words = [sys.executable, "-m", "bench.isolation", module]
        found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
        for isolation, seconds in found.items():
            note = f"{TASKS[isolation]} tasks"
            figures.append(Figure(f"task, {framework}, {isolation}", seconds * 1e3, "ms", note=note))
    return figures


async def measure(module: str) -> dict[str, float]:
    """The median seconds of a task, per isolation."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        folder = Path(name)
        (folder / "task.py").write_text(SCRIPT.format(module=module))
        write_model(folder / "in", {"weights": np.zeros(1000, np.float32)})
        environ = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        task = Run(COMMAND, (str(folder / "in"), str(folder / "out")), cwd=folder, environ=environ)
        workers, inline = Workers(1), Inline()

        async def once(isolation: Isolation) -> None:
            match isolation:
                case "process":
                    await run_in_process(task, time_limit_s=300)
                case "worker":
                    await workers.run(task, EntryPoint(COMMAND, "worker"), time_limit_s=300)
                case "inline":
                    await inline.run(task, time_limit_s=300)

        medians: dict[str, float] = {}
        for isolation in ISOLATIONS:
            await once(isolation)  # the imports, or the page cache
            times = []
            for _ in range(TASKS[isolation]):
                begun = time.perf_counter()
                await once(isolation)
                times.append(time.perf_counter() - begun)
            medians[isolation] = statistics.median(times)
        await workers.stop()
    return medians


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
