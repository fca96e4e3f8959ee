"""Speed and memory of the fold: 10 updates of 100 MB float32, as a combiner folds them, then the mean of two."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.aggregation.mean import mean
from fedn.aggregation.ranges import scan
from fedn.aggregation.sums import open_sum
from fedn.model.safetensors import ModelFile, open_model, write_model

UPDATES = 10
ELEMENTS = 25_000_000  # of float32: 100 MB
RUNS = 5


def main() -> None:
    """Print speeds, each the median of `RUNS` with the files in the page cache, and the fold's memory."""
    with tempfile.TemporaryDirectory() as folder:
        models = [_update(Path(folder), number) for number in range(UPDATES)]
        checked = [Contribution(m, 100 + i, check_update(m, models[0].schema)) for i, m in enumerate(models)]
        size = sum(model.schema.nbytes for model in models) / 1e9
        out = Path(folder) / "out"

        scanning = _median(lambda: [scan(model) for model in models])
        print(f"scan of {UPDATES} updates, one thread   {size / scanning:5.2f} GB/s")
        with _peak_anonymous_memory() as peak:
            folding = _median(lambda: fold(checked, out))
        print(f"fold of {UPDATES} updates               {size / folding:5.2f} GB/s   {folding:.3f} s")
        print(f"anonymous memory of the fold    {peak.bytes / 1e6:5.1f} MB above what the process had")
        _bench_mean(Path(folder), checked)


def _bench_mean(folder: Path, checked: list[Contribution]) -> None:
    schema = checked[0].model.schema
    paths = [folder / "left", folder / "right"]
    weight = fold(checked[::2], paths[0]) + fold(checked[1::2], paths[1])
    heads = 8 * ELEMENTS * len(paths) / 1e9
    opening = _median(lambda: [open_sum(path, schema) for path in paths])
    print(f"check of 2 combiner models      {heads / opening:5.2f} GB/s of heads")
    sums = [open_sum(path, schema) for path in paths]
    averaging = _median(lambda: mean(sums, weight=weight, schema=schema, out=folder / "global"))
    print(f"mean of 2 combiner models       {heads / averaging:5.2f} GB/s of heads   {averaging:.3f} s")


def _update(folder: Path, number: int) -> ModelFile:
    values = np.random.default_rng(number).standard_normal(ELEMENTS, np.float32)
    values *= 0.02
    path = folder / f"update-{number}"
    half = ELEMENTS // 2
    write_model(path, {"layer.0.weight": values[:half].reshape(-1, 500), "layer.1.weight": values[half:]})
    return open_model(path)


def _median(work: Callable[[], object]) -> float:
    """Seconds that it takes, the median of `RUNS`."""
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


@dataclass
class Peak:
    """The most anonymous memory that was seen, above that of the beginning."""

    bytes: int = 0


@contextmanager
def _peak_anonymous_memory() -> Iterator[Peak]:
    peak = Peak()
    begin = _anonymous_memory()
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.002):
            peak.bytes = max(peak.bytes, _anonymous_memory() - begin)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        ended.set()
        sampler.join()


def _anonymous_memory() -> int:
    """RssAnon of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
