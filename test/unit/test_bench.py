"""Every benchmark in a tiny size, so that it cannot rot; what it measures is not judged here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.__main__ as command
from bench import encoding, fold, helpers, isolation, memory, operations, recover, rounds, stores, transfer
from bench.figure import Figure
from bench.round import main as round_command
from test.system.network import PUPPET


def positive(figures: list[Figure]) -> bool:
    return all(math.isfinite(f.value) and f.value >= 0 for f in figures) and any(f.value > 0 for f in figures)


def test_fold_runs() -> None:
    assert positive(fold.run(updates=2, elements=20_000, runs=1))


def test_transfer_runs() -> None:
    assert positive(transfer.run(clients=2, blob_bytes=100_000, repeats=1))


def test_rounds_runs() -> None:
    assert positive(rounds.run(rounds=4, clients=2))


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
    assert positive(memory.run(few=1, many=2, blob_bytes=100_000))


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


def test_the_command_prints_a_table_and_fails_when_a_target_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [Figure("good", 2.0, "s", target=3.0), Figure("bad", 2.0, "GB/s", target=3.0, more_is_better=True)]
    monkeypatch.setitem(command.BENCHMARKS, "fold", lambda: figures)
    done = CliRunner().invoke(command.main, ["fold", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 1
    assert "MISSED" in done.output
    assert json.loads((tmp_path / "out.json").read_text())[0]["name"] == "good"
