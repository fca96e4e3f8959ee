"""Speed and memory of the fold: 10 updates of 100 MB float32, as a combiner folds them, then the mean of two."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.anonymous import peak
from bench.command import command
from bench.figure import Figure
from fedn.aggregation.agreement import load
from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.aggregation.kernel import Kernel
from fedn.aggregation.mean import mean
from fedn.aggregation.ranges import scan
from fedn.aggregation.sums import open_sum
from fedn.model.safetensors import ModelFile, open_model, write_model

UPDATES = 10
ELEMENTS = 25_000_000  # of float32: 100 MB
RUNS = 5


def run(*, updates: int = UPDATES, elements: int = ELEMENTS, runs: int = RUNS) -> list[Figure]:
    """Speeds, each the median of `runs` with the files in the page cache, and the fold's memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [_update(folder, number, elements) for number in range(updates)]
        checked = [Contribution(m, 100 + i, check_update(m, models[0].schema)) for i, m in enumerate(models)]
        size = sum(model.schema.nbytes for model in models) / 1e9
        scanning = _median(runs, lambda: [scan(model) for model in models])
        kernel, how = _kernel()
        with peak(every_s=0.002) as memory:  # by itself: the watch takes the interpreter from the folding threads
            fold(checked, folder / "out", kernel=kernel)
        with _copying(models[0].schema.nbytes) as copy:
            folding, by_numpy, copied = _medians(
                runs,
                lambda: fold(checked, folder / "out", kernel=kernel),
                lambda: fold(checked, folder / "out"),
                copy,
                before=lambda: (folder / "out").unlink(missing_ok=True),  # a round replaces no older sums
            )
        copying = 2 * models[0].schema.nbytes / 1e9 / copied
        updates_of = f"{updates} updates of {models[0].size / 1e6:.0f} MB"
        return [
            Figure(f"scan of {updates_of}", size / scanning, "GB/s", note="one thread"),
            Figure(
                f"fold of {updates_of}",
                size / folding,
                "GB/s",
                2.5,
                more_is_better=True,
                note=f"{how}, {folding:.3f} s",
            ),
            Figure("the same with numpy", size / by_numpy, "GB/s", note=f"in turns, {by_numpy:.3f} s"),
            Figure(
                "fold, of a memory copy",
                100 * size / folding / copying,
                "%",
                30,
                more_is_better=True,
                note=f"two threads copy {copying:.2f} GB/s, bytes read",
            ),
            Figure("memory of the fold", memory.grown / 1e6, "MB", 100, note="anonymous, above what was there"),
            *_of_mean(folder, checked, runs),
        ]


def _kernel() -> tuple[Kernel | None, str]:
    """What a combiner folds with here, and its name."""
    try:
        return load(), "compiled"
    except ImportError:
        return None, "numpy"


@contextmanager
def _copying(size: int) -> Iterator[Callable[[], object]]:
    """Two threads, each of which copies an array of this size into one of its own."""
    arrays = [(np.ones(size, np.uint8), np.ones(size, np.uint8)) for _ in range(2)]
    with ThreadPoolExecutor(len(arrays)) as threads:
        yield lambda: list(threads.map(lambda pair: np.copyto(pair[1], pair[0]), arrays))


def _of_mean(folder: Path, checked: list[Contribution], runs: int) -> list[Figure]:
    schema = checked[0].model.schema
    paths = [folder / "left", folder / "right"]
    weight = fold(checked[::2], paths[0]) + fold(checked[1::2], paths[1])
    heads = 8 * sum(spec.count for spec in schema.tensors) * len(paths) / 1e9
    opening = _median(runs, lambda: [open_sum(path, schema) for path in paths])
    sums = [open_sum(path, schema) for path in paths]
    averaging = _median(runs, lambda: mean(sums, weight=weight, schema=schema, out=folder / "global"))
    return [
        Figure("check of 2 combiner models", heads / opening, "GB/s", note="of heads"),
        Figure("mean of 2 combiner models", heads / averaging, "GB/s", note=f"of heads, {averaging:.3f} s"),
    ]


def _update(folder: Path, number: int, elements: int) -> ModelFile:
    values = np.random.default_rng(number).standard_normal(elements, np.float32)
    values *= 0.02
    path = folder / f"update-{number}"
    half = elements // 2
    write_model(path, {"layer.0.weight": values[:half].reshape(-1, 2), "layer.1.weight": values[half:]})
    return open_model(path)


def _median(runs: int, work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    return _medians(runs, work)[0]


def _medians(runs: int, *works: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds that each takes, in turns: what disturbs one of them disturbs all."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for work, its in zip(works, seconds, strict=True):
            before()
            begin = time.perf_counter()
            work()
            its.append(time.perf_counter() - begin)
    return [statistics.median(its) for its in seconds]


if __name__ == "__main__":
    command(run)()
