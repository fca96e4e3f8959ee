"""What a client keeps on disk, and for how long. Nothing is synced: all of it can be had or made again.

::

    <dir>/models/<sha256>          the last two global models; checked when the client starts
    <dir>/packages/<sha256>.tar    the last two compute packages; checked when the client starts
    <dir>/packages/<sha256>/       unpacked; compared with the archive at the first task
    <dir>/tasks/<task>/            one task, until its round has ended; at most four
        result.json            the training is done and need not be done again, if the output is as it says
        run-*/                 one run of the script: its output and metadata
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fedn.model.safetensors import digest_of

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
        drop_broken(path for path in (root / "models").iterdir() if not path.suffix)
        drop_broken((root / "packages").glob("*.tar"))

    def model(self, digest: str) -> Path:
        """Where a global model rests, or will."""
        return self.root / "models" / digest

    def package(self, digest: str) -> Path:
        """The folder of an unpacked compute package."""
        return self.root / "packages" / digest

    def archive(self, digest: str) -> Path:
        """Where a package's archive rests."""
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

    def sweep(self) -> None:
        """Keep the newest of each kind."""
        keep_newest(self.root / "models", KEEP_MODELS)
        keep_newest(self.root / "tasks", KEEP_TASKS)
        keep_newest(self.root / "packages", 2 * KEEP_PACKAGES)  # each with its archive


def read_result(path: Path) -> TrainResult | None:
    """The result in a file; None when there is none, or one that another version wrote."""
    try:
        return TrainResult(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def drop_broken(blobs: Iterable[Path]) -> None:
    """Delete what a power failure has cut short; what is still on its way, a `.part`, goes on later."""
    for path in list(blobs):
        if digest_of(path) != path.stem:
            path.unlink()


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the `count` newest entries."""
    entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[count:]:
        remove(entry)


def remove(path: Path) -> None:
    """Delete a file or a folder; one that a script still writes to may stay."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
