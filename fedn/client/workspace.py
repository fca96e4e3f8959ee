"""What one client keeps on disk of its tasks, and for how long. Nothing is synced: all of it can be made again.

::

    <dir>/tasks/<task>/            one task, until its round has ended; at most four
        result.json            the training is done and need not be done again, if the output is as it says
        run-*/                 one run of the script: its output and metadata
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from fedn.client.cache import keep_newest, remove

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
        (root / "tasks").mkdir(parents=True, exist_ok=True)

    def task(self, task_id: str) -> Path:
        """The folder of a task, made if it is not there."""
        folder = self.root / "tasks" / named(task_id)
        folder.mkdir(exist_ok=True)
        return folder

    def attempt(self, task_id: str) -> Path:
        """A new folder for one run of the task's script.

        A script that outlived its killed client goes on writing, but not to where this run writes.
        """
        folder = self.task(task_id)
        for leftover in folder.iterdir():
            remove(leftover)
        return Path(tempfile.mkdtemp(prefix="run-", dir=folder))

    def save_result(self, task_id: str, result: TrainResult) -> None:
        """Note that the task's training is done and need not be done again."""
        path = self.task(task_id) / "result.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(result)))
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

    def sweep(self, present: str) -> None:
        """Keep the newest tasks, and this one: where the clock went back, it looks old."""
        keep_newest(self.root / "tasks", KEEP_TASKS, besides=[named(present)])


def named(task_id: str) -> str:
    """The name of a task's folder: what a task id holds may not be one."""
    return hashlib.sha256(task_id.encode()).hexdigest()[:24]


def read_result(path: Path) -> TrainResult | None:
    """The result in a file; None when there is none, or one that another version wrote."""
    try:
        return TrainResult(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
