"""The file of results: every benchmark's figures, with when, at which commit and at what load they were taken.

::

    {machine: {cpu, cores, …, versions}, benchmarks: {NAME: {taken, commit, load, seconds, error, figures: […]}}}

A benchmark that is run again takes the place of its former figures in the file; the others stay.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.command import as_data
from bench.figure import Figure
from bench.machine import commit, machine

FOLDER = Path(__file__).parent / "results"


def measured(run: Callable[[], list[Figure]]) -> dict[str, Any]:
    """Run a benchmark: its entry in the file. What it raises is its `error`; the others need not suffer."""
    load, began = os.getloadavg()[0], time.monotonic()
    taken, error, figures = datetime.now(UTC).isoformat(timespec="seconds"), "", []
    try:
        figures = run()
    except Exception as problem:  # noqa: BLE001 - the outermost loop of a run of all: it is told, and the next goes on
        error = f"{type(problem).__name__}: {problem}"
    return {
        "taken": taken,
        "commit": commit(),
        "load": round(load, 2),
        "seconds": round(time.monotonic() - began, 1),
        "error": error,
        "figures": [as_data(figure) for figure in figures],
    }


def keep(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Write a benchmark's entry into the file."""
    found = json.loads(path.read_text()) if path.exists() else {"benchmarks": {}}
    found["machine"] = machine()
    found["benchmarks"][name] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def of_today() -> Path:
    """Where `make bench` writes."""
    return FOLDER / f"{datetime.now(UTC).date().isoformat()}.json"


def newest() -> Path | None:
    """The newest file of results, if there is one."""
    return max(FOLDER.glob("*.json"), default=None)


def figures_of(entry: dict[str, Any]) -> list[Figure]:
    """The figures of an entry."""
    known = {field.name for field in fields(Figure)}
    kept = ({k: v for k, v in figure.items() if k in known} for figure in entry["figures"])
    return [Figure(**figure | {"samples": tuple(figure["samples"])}) for figure in kept]
