"""What a client keeps on disk, and for how long.

::

    <dir>/models/<sha256>          the last two global models
    <dir>/packages/<sha256>/       the last two compute packages, unpacked
    <dir>/tasks/<task>/            one task, until its round has ended; at most four
        result.json            written when the training is done and need not be done again
        run-*/                 one run of the script: its output and metadata
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

KEEP_MODELS = 2
KEEP_PACKAGES = 2
KEEP_TASKS = 4


@dataclass(frozen=True)
class TrainResult:
    """A finished training as it rests on disk until its round has ended; `out` is in the task's folder."""

    round_id: str
    out: str
    digest: str
    num_examples: int
    metrics: dict[str, float]
    seconds: float


class Workspace:
    """The client's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("models", "packages", "tasks"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def model(self, digest: str) -> Path:
        """Where a global model rests, or will."""
        return self.root / "models" / digest

    def package(self, digest: str) -> Path:
        """The folder of an unpacked compute package."""
        return self.root / "packages" / digest

    def archive(self, digest: str) -> Path:
        """Where a package's archive arrives."""
        return self.root / "packages" / f"{digest}.tar"

    def task(self, task_id: str) -> Path:
        """The folder of a task, made if it is not there."""
        folder = self.root / "tasks" / hashlib.sha256(task_id.encode()).hexdigest()[:24]
        folder.mkdir(exist_ok=True)
        return folder

    def attempt(self, task_id: str) -> Path:
        """A new folder for one run of the task's script.

        A script that outlived its killed client goes on writing, but not to where this run writes.
        """
        shutil.rmtree(self.task(task_id), ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=self.task(task_id)))

    def save_result(self, task_id: str, result: TrainResult) -> None:
        """Note durably that the task's training is done and need not be done again."""
        path = self.task(task_id) / "result.json"
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(asdict(result), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def result(self, task_id: str) -> TrainResult | None:
        """The finished training of this task, if there is one."""
        return read_result(self.task(task_id) / "result.json")

    def end_round(self, round_id: str) -> None:
        """The round is committed or aborted: its updates need not be kept."""
        for folder in (self.root / "tasks").iterdir():
            result = read_result(folder / "result.json")
            if result is not None and result.round_id == round_id:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Keep the newest of each kind."""
        keep_newest(self.root / "models", KEEP_MODELS)
        keep_newest(self.root / "tasks", KEEP_TASKS)
        keep_newest(self.root / "packages", KEEP_PACKAGES)


def read_result(path: Path) -> TrainResult | None:
    """The result in a file; None when there is none, or one that another version wrote."""
    try:
        return TrainResult(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the `count` newest entries."""
    entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[count:]:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
