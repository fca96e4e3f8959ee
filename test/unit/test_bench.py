"""Every benchmark in a tiny size, so that it cannot rot; what it measures is not judged here."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import bench.__main__ as command
from bench import (
    clients,
    encoding,
    fold,
    grid,
    helpers,
    isolation,
    large,
    memory,
    operations,
    overhead,
    recover,
    report,
    results,
    session,
    startup,
    stores,
    transfer,
    tree,
)
from bench.command import command as command_of
from bench.figure import Figure, of_samples
from bench.round import main as round_command
from test.system.network import PUPPET


def positive(figures: list[Figure]) -> bool:
    return all(math.isfinite(f.value) and f.value >= 0 for f in figures) and any(f.value > 0 for f in figures)


def test_fold_runs() -> None:
    assert positive(fold.run(updates=2, elements=20_000, runs=1))


def test_transfer_runs() -> None:
    assert positive(transfer.run(clients=2, blob_bytes=100_000, repeats=1))


def test_overhead_runs() -> None:
    assert positive(overhead.run(rounds=4, clients=2))


def test_a_round_runs_beside_its_floors(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    arguments = ["--clients", "2", "--megabytes", "0.1", "--rounds", "1", "--json", str(found)]
    result = CliRunner().invoke(round_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads(found.read_text())
    assert {"seconds_median", "floor_seconds", "raw_floor_seconds", "ratio_to_floor", "peers"} <= told.keys()
    assert set(told["peak_mb"]) == {"reducer", "combiner", "client"}


def test_encoding_runs() -> None:
    figures = encoding.run(PUPPET, clients=1, rounds=1, seeds=1, forms=[("float16", "zstd")])
    assert [f.name for f in figures] == [f"float16 + zstd, {what}" for what in ("up", "down", "accuracy", "loss")]
    assert positive(figures)


def test_recover_runs() -> None:
    assert positive(recover.run(repeats=1, clients=2))


def test_memory_runs() -> None:
    assert positive(memory.run(clients=(1, 2), megabytes=0.1))


def test_grid_runs() -> None:
    figures = grid.run(widths=(2,), clients=(2,), rounds=1)
    assert positive(figures)
    assert [f.name for f in figures] == ["dispatch", *grid.PHASES, "round"]


def test_the_grid_is_of_metisfls_sizes(tmp_path: Path) -> None:
    sizes = [session.mlp(tmp_path / "model", width) for width in grid.FULL_WIDTHS]
    assert sizes == [106_081, 1_011_501, 10_276_801]


def test_tree_runs() -> None:
    figures = tree.run(combiners=(2,), clients=(2,), megabytes=0.3, rounds=1)
    assert positive(figures)
    moved = next(f.value for f in figures if f.name == "moved")
    assert moved > 3 * 2 * 0.3  # at least the model down and the sums up, for each combiner


def test_large_runs() -> None:
    figures = large.run(gigabytes=0.02)
    assert positive(figures)
    assert next(f.value for f in figures if f.name.startswith("sent twice")) < 10.0  # MB: it was resumed


def test_startup_runs() -> None:
    assert positive(startup.run(times=1))


def test_clients_runs() -> None:
    figures = clients.run(clients=(5,), participants=2, blob_bytes=4_000, settle_s=0.0, idle_s=0.2)
    assert positive(figures)
    found = {figure.name: figure for figure in figures}
    assert found["5 clients, attempts that failed"].holds
    assert found["5 clients, all attached"].note == "5 connections"


def test_stores_runs() -> None:
    assert positive(stores.run(blob_bytes=100_000, repeats=1))


def test_operations_runs() -> None:
    assert positive(operations.run(clients=2, rounds=2))


def test_isolation_runs() -> None:
    figures = isolation.run({"numpy": "numpy"})
    assert positive(figures)
    assert [figure.name for figure in figures] == ["task, numpy, process", "task, numpy, worker", "task, numpy, inline"]


def test_helpers_runs() -> None:
    assert positive(helpers.run(size=100_000, runs=1))


FIGURES = [
    of_samples("good", [1.0, 2.0, 4.0], "s", 3.0, note="a note"),
    Figure("bad", 2.0, "GB/s", target=3.0, more_is_better=True),
    *(of_samples("round", [k / 10], "s", series="small", clients=k) for k in (1, 10)),
]


def measure(monkeypatch: pytest.MonkeyPatch, work: Callable[[str], list[Figure]], *arguments: str) -> Result:
    monkeypatch.setattr(command, "run", lambda name, **_: work(name))
    return CliRunner().invoke(command.main, arguments)


def test_a_benchmark_is_told_the_switches_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, known in (("grid", {"full": True}), ("round", {"peers": False}), ("fold", {})):
        signature = inspect.signature(importlib.import_module(f"bench.{name}").run)
        told: list[dict[str, bool]] = []

        def work(told: list[dict[str, bool]] = told, **switches: bool) -> list[Figure]:
            told.append(switches)
            return []

        monkeypatch.setattr(work, "__signature__", signature, raising=False)
        monkeypatch.setattr(f"bench.{name}.run", work)
        command.run(name, full=True, peers=False)
        assert told == [known]


def test_the_command_prints_a_table_and_fails_when_a_bar_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.json"
    done = measure(monkeypatch, lambda _: FIGURES, "fold", "--json", str(file))
    assert done.exit_code == 1
    assert "MISSED" in done.output
    found = json.loads(file.read_text())
    assert found["machine"]["cores"] > 0
    assert results.figures_of(found["benchmarks"]["fold"]) == FIGURES


def test_a_benchmark_that_fails_is_told_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(name: str) -> list[Figure]:
        if name == "fold":
            raise OSError("no room")
        return [Figure("good", 1.0, "s")]

    file = tmp_path / "out.json"
    done = measure(monkeypatch, work, "fold", "memory", "--json", str(file))
    assert done.exit_code == 1
    found = json.loads(file.read_text())["benchmarks"]
    assert found["fold"]["error"] == "OSError: no room"
    assert [figure["name"] for figure in found["memory"]["figures"]] == ["good"]
    measure(monkeypatch, lambda _: FIGURES, "fold", "--json", str(file))
    again = json.loads(file.read_text())["benchmarks"]
    assert again["fold"]["error"] == ""
    assert again["memory"] == found["memory"]


def test_the_report_is_made_of_the_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "2000-01-01.json"
    measure(monkeypatch, lambda _: FIGURES, "fold", "memory", "--json", str(file))
    done = CliRunner().invoke(report.main, [str(file), "--docs", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "benchmarks.md").read_text()
    assert "2 of 4 bars hold. Missed: bad (2 GB/s); bad (2 GB/s)." in page
    assert "| good | 2 s | 1 to 4, n=3 | ≤ 3 | holds | a note |" in page
    assert "| small | 10 | 1 |" in page
    for name in ("bars", "fold", "memory"):
        assert f"(benchmarks/{name}.svg)" in page
        ElementTree.parse(tmp_path / "benchmarks" / f"{name}.svg")


def test_a_benchmark_alone_takes_its_sizes_as_options(tmp_path: Path) -> None:
    given = []

    def run(
        *, rounds: int = 3, gigabytes: float = 5.0, clients: tuple[int, ...] = (1, 2), full: bool = False
    ) -> list[Figure]:
        given.append((rounds, gigabytes, clients, full))
        return FIGURES[:1]

    file = tmp_path / "out.json"
    alone = command_of(run)
    assert CliRunner().invoke(alone, ["--clients", "5,6", "--full", "--json", str(file)]).exit_code == 0
    assert CliRunner().invoke(alone, ["--clients", "some"]).exit_code == 2
    assert given == [(3, 5.0, (5, 6), True)]
    assert json.loads(file.read_text())[0] | {"samples": []} == {
        **dataclasses.asdict(FIGURES[0]), "samples": [], "ratio": 2 / 3, "holds": True
    }  # fmt: skip


def test_every_benchmark_has_its_command() -> None:
    for name in command.BENCHMARKS:
        assert callable(importlib.import_module(f"bench.{name}").run), name
