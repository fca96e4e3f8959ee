"""Copies of the test projects, run as a client runs them: each script a process, in its own copy of the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedn.model.safetensors import load_tensors

PROJECTS = Path(__file__).resolve().parents[1]
ROOT = PROJECTS.parent


class Project:
    """A copy of a project, and of its package as each client has it."""

    def __init__(self, name: str, folder: Path, **environ: str) -> None:
        ignore = shutil.ignore_patterns("__pycache__", "*.npz")
        self.source = shutil.copytree(PROJECTS / name, folder / "project", ignore=ignore)
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith("FEDN_")}
        self.environ = own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
        self.environ |= environ

    def init_model(self) -> Path:
        out = self.folder / "seed"
        self._run(["init_model.py", str(out)], self.source, {})
        return out

    def train(self, model: Path, part: int, *, settings: dict[str, Any] | None = None, **environ: str) -> Path:
        out = self.folder / f"update-{part}"
        self._task("train.py", model, out, part, settings, environ)
        return out

    def validate(self, model: Path, part: int, **environ: str) -> dict[str, float]:
        out = self.folder / f"metrics-{part}.json"
        self._task("validate.py", model, out, part, None, environ)
        metrics: dict[str, float] = json.loads(out.read_text())
        return metrics

    def predict(self, model: Path, part: int, *, settings: dict[str, Any] | None = None) -> Any:
        out = self.folder / f"predictions-{part}.json"
        self._task("predict.py", model, out, part, settings, {})
        return json.loads(out.read_text())

    def in_one_worker(self, model: Path, *tasks: tuple[str, int], first: str = "", **environ: str) -> list[Path]:
        """Run these scripts for these parts in one Python process, as a worker does; what they wrote.

        `first` is a statement to begin with.
        """
        outs = [self.folder / f"worker-{number}" for number in range(len(tasks))]
        runs = [
            ([script, str(model), str(out)], self.environ | self._told(part, None) | environ)
            for (script, part), out in zip(tasks, outs, strict=True)
        ]
        program = (
            f"{first}\n"
            "import json, sys; from fedn.client.script import run_script\n"
            "for words, environ in json.load(sys.stdin):\n"
            "    if run_script(words, cwd=sys.argv[1], environ=environ): sys.exit(1)\n"
        )
        package = self._package(tasks[0][1])
        self._run(["-c", program, str(package)], package, environ, stdin=json.dumps(runs))
        return outs

    def _task(
        self,
        script: str,
        model: Path,
        out: Path,
        part: int,
        settings: dict[str, Any] | None,
        environ: dict[str, str],
    ) -> None:
        told = self._told(part, settings)
        self._run([script, str(model), str(out)], self._package(part), told | environ)

    def _package(self, part: int) -> Path:
        package = self.folder / f"client-{part}"
        if not package.exists():
            shutil.copytree(self.source / "client", package)
        return package

    def _told(self, part: int, settings: dict[str, Any] | None) -> dict[str, str]:
        told = {"FEDN_PART": str(part), "FEDN_SEED": f"{part}7", "FEDN_SESSION_SEED": "3", "FEDN_ROUND": "1"}
        if settings is not None:
            (self.folder / "settings.json").write_text(json.dumps(settings))
            told["FEDN_CLIENT_SETTINGS"] = str(self.folder / "settings.json")
        return told

    def _run(self, command: list[str], cwd: Path, told: dict[str, str], stdin: str | None = None) -> None:
        subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            env=self.environ | told,
            check=True,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )


def num_examples(update: Path) -> int:
    count: int = json.loads(update.with_name(f"{update.name}-metadata").read_text())["num_examples"]
    return count


def schema(model: Path) -> dict[str, tuple[Any, ...]]:
    return {name: (array.dtype, array.shape) for name, array in load_tensors(model).items()}


def data_folder(*needed: str) -> Path:
    """The folder of real data; the test is skipped where it is not."""
    for folder in (os.environ.get("FEDN_DATA_DIR"), ROOT.parent / "shared" / "data"):
        if folder and all((Path(folder) / name).exists() for name in needed):
            return Path(folder).resolve()
    pytest.skip(f"set FEDN_DATA_DIR to a folder that holds {', '.join(needed)}")
