"""What `wire_dtype` and `compression` save, and what they cost in accuracy: a test project trained in each form.

A reducer, a combiner and the clients are processes as `fedn run` starts them; a relay before the combiner counts what
the clients exchange with it, heartbeats and HTTP/2's own bytes included. Each form begins with the same seed model and
trains with the same seeds, so two that do not round differently end with the same model.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench.figure import Figure
from bench.network import combiner, free_port, reducer, wait_until
from bench.relay import Counted, relay
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.cli.seed import write_seed
from fedn.errors import from_code
from fedn.package.archive import create
from fedn.package.project import load_project

FORMS = (
    ("float32", "none"),
    ("float16", "none"),
    ("bfloat16", "none"),
    ("float32", "zstd"),
    ("float16", "zstd"),
)
DIGITS = Path("test/digits")
LOOK_S = 0.1


@dataclass(frozen=True)
class Trained:
    """One session: bytes of one update, of one model, and what the last model was measured at."""

    up: float
    down: float
    accuracy: float
    loss: float


def run(
    project: Path = DIGITS,
    *,
    clients: int = 5,
    rounds: int = 10,
    seeds: int = 1,
    forms: Sequence[tuple[str, str]] = FORMS,
) -> list[Figure]:
    """kB of an update and of a model on the wire, and the accuracy in the end: medians over the seeds."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        seen = _measure(project, Path(name), clients=clients, rounds=rounds, seeds=seeds, forms=forms)
    figures = []
    for (dtype, compression), trained in seen.items():
        form = dtype if compression == "none" else f"{dtype} + {compression}"
        accuracies = sorted(t.accuracy for t in trained)
        spread = f"after {rounds} rounds; {accuracies[0]:.4f} to {accuracies[-1]:.4f}, {seeds} seed(s)"
        figures += [
            Figure(f"{form}, up", statistics.median(t.up for t in trained) / 1e3, "kB", note="an update"),
            Figure(f"{form}, down", statistics.median(t.down for t in trained) / 1e3, "kB", note="a model"),
            Figure(f"{form}, accuracy", statistics.median(accuracies), "", more_is_better=True, note=spread),
            Figure(f"{form}, loss", statistics.median(t.loss for t in trained), ""),
        ]
    return figures


def _measure(
    folder: Path, place: Path, *, clients: int, rounds: int, seeds: int, forms: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[Trained]]:
    port = free_port()
    with (
        relay(port) as counted,
        Processes(place / "logs") as processes,
        reducer(processes, place / "reducer") as api,
    ):
        at = f"127.0.0.1:{counted.port}"
        combiner(processes, place / "combiner", "--advertise", at, reducer=api.address, port=port)
        wait_until(lambda: any(c["up"] for c in api.get("/api/v1/network")["combiners"]), processes)
        project = load_project(folder)
        create(project, place / "package")
        api.upload("/context", place / "package")
        counted.pid = _clients(processes, place, api.address, clients)
        wait_until(lambda: api.get("/api/v1/network")["connected"] == clients, processes)
        write_seed(project, place / "seed", seed=10**6, environ=one_thread(clients))
        _train(api, counted, place / "seed", clients=clients, rounds=1, seed=0)  # the clients fetch the package
        seen: dict[tuple[str, str], list[Trained]] = {form: [] for form in forms}
        for seed in range(seeds):
            model = place / f"seed-{seed}"
            write_seed(project, model, seed=seed, environ=one_thread(clients))
            for dtype, compression in forms:
                options: dict[str, Any] = {
                    "wire_dtype": dtype,
                    "compression": compression,
                    "rounds": rounds,
                    "seed": seed,
                }
                seen[dtype, compression].append(_train(api, counted, model, clients=clients, **options))
    return seen


def one_thread(clients: int) -> dict[str, str]:
    """The environment of scripts that compute in one thread, on parts for so many clients."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "FEDN_PARTS": str(clients)}


def _clients(processes: Processes, place: Path, address: str, count: int) -> int:
    """All clients in one process, two of which train at a time; returns its process id."""
    where = ["--name", "client", "--dir", str(place / "clients"), "--reducer", address, "--parts", str(count)]
    many = ["--replicas", str(count), "--workers", "2"]
    return processes.start("clients", ["run", "client", *where, *many], one_thread(count)).process.pid


def _train(api: ReducerApi, counted: Counted, model: Path, *, clients: int, rounds: int, **options: Any) -> Trained:
    """A session from the seed model on. Raises what ended it, if it did not finish.

    The clients of a process share their models: it fetches the seed, and each round's model to validate it and train.
    """
    begun = api.get("/")["seed"] is not None
    api.upload("/seed", model, **({"new_lineage": "true"} if begun else {}))
    up, down = counted.up, counted.down
    asked = {"rounds": rounds, "clients_required": clients, **options}
    session = f"/api/v1/sessions/{api.post('/start', asked)['session']}"
    while (found := api.get(session))["ended"] is None:
        time.sleep(LOOK_S)
    if found["status"] != "finished":
        raise from_code(found["code"], found["reason"])
    last, updates, models = found["rounds"][-1], clients * rounds, rounds + 1
    return Trained((counted.up - up) / updates, (counted.down - down) / models, last["accuracy"], last["loss"])


@click.command()
@click.option("--project", type=click.Path(path_type=Path), default=DIGITS, show_default=True, help="What to train.")
@click.option("--clients", default=5, show_default=True)
@click.option("--rounds", default=10, show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(project: Path, clients: int, rounds: int, seeds: int, json_file: Path | None) -> None:
    """Train a project in every form, and say what went over the wire and what came of it."""
    figures = run(project, clients=clients, rounds=rounds, seeds=seeds)
    for figure in figures:
        click.echo(f"{figure.name:<28} {figure.value:>10,.4f} {figure.unit:<3} {figure.note}")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
