"""A virtual environment per compute package, made once on a machine and kept for all clients of a user.

::

    <env_dir>/<key>/         the environment, made in its place; `ready` in it is written last
    <env_dir>/<key>.lock     exclusive while it is made or removed, shared while it is in use

The key is of the package's digest, the Python and the fedn that asked. An environment is made by a process of its
own (`environment_main`), which outlives the task that asked for it: the next task finds it, or waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import fedn
from fedn.client.blame import cause_of
from fedn.client.environment_lock import held, lock_file, ready_file, share
from fedn.client.requirements import read_requirements, with_own
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Run
from fedn.config import without_secrets
from fedn.errors import ConfigInvalid, EnvironmentFailed, FolderUnusable, PackageInvalid, TaskFailed, TaskTimeout
from fedn.package.project import Manifest

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("~/.cache/fedn/envs")
AGAIN_AFTER_S = 30.0  # many clients share a process: one of them tries again what failed, not each in turn
KEEP = 4  # environments that are not in use, the newest
KEEP_S = 30 * 86400.0  # … and none that was not used for so long


@dataclass(frozen=True)
class Python:
    """The Python that runs a package's scripts. `root` is its virtual environment; None: the client's own Python."""

    executable: str = sys.executable
    root: Path | None = None

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment variables of its scripts: `base`, with the virtual environment activated."""
        if self.root is None:
            return dict(base)
        kept = {name: value for name, value in base.items() if name != "PYTHONHOME"}
        path = os.pathsep.join(filter(None, (str(self.root / "bin"), base.get("PATH"))))
        return kept | {"PATH": path, "VIRTUAL_ENV": str(self.root)}


class Environments:
    """The virtual environments of one process, in a folder that others share. `enabled=False`: none are made.

    One that a task was given is not removed as long as it is among the last four that this process has used.
    """

    def __init__(self, root: Path | None, *, time_limit_s: float, enabled: bool = True) -> None:
        self._root = (root or DEFAULT_ROOT).expanduser().absolute()
        self._time_limit_s = time_limit_s
        self._enabled = enabled
        self._failed: dict[str, tuple[float, EnvironmentFailed]] = {}  # key → when, and how
        self._making: dict[str, asyncio.Task[None]] = {}
        self._in_use: dict[str, int] = {}  # key → descriptor of the shared lock, the newest last

    async def python(self, digest: str, folder: Path, manifest: Manifest) -> Python:
        """The Python for the package `digest`, unpacked in `folder`; its environment is made if need be.

        Cancelled, the making goes on. Raises PackageInvalid, EnvironmentFailed, FolderUnusable.
        """
        if manifest.python_env is None or not self._enabled:
            return Python()
        try:
            asked = read_requirements(folder, manifest.python_env)
        except ConfigInvalid as error:
            raise PackageInvalid(f"in the package, {error.reason}") from error
        spec = {**asdict(with_own(asked)), "fedn": [str(Path(fedn.__file__).parent), fedn.__version__]}
        key = key_of(digest, spec)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            ready = self._use(key)
        except OSError as error:
            reason = f"the folder {self._root} (env_dir) cannot be written: {error.strerror or error}"
            raise FolderUnusable(reason) from error
        if not ready:
            self._raise_what_has_just_failed(key)
            if key not in self._making:
                for line in asked.left_out:
                    log.info("left out, since the environment sees the client's own fedn: %s", line)
                self._making[key] = asyncio.create_task(self._make(key, folder, spec))
                self._making[key].add_done_callback(lambda task: self._made(key, task))
            await asyncio.shield(self._making[key])
        return Python(str(self._root / key / "bin" / "python"), self._root / key)

    async def stop(self) -> None:
        """End what is being made, and use none any more."""
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        for lock in self._in_use.values():
            os.close(lock)
        self._in_use.clear()

    def _raise_what_has_just_failed(self, key: str) -> None:
        now = time.monotonic()
        self._failed = {k: (at, error) for k, (at, error) in self._failed.items() if now - at < AGAIN_AFTER_S}
        if key in self._failed:
            _, error = self._failed[key]
            raise EnvironmentFailed(error.reason, **error.detail)

    def _made(self, key: str, task: asyncio.Task[None]) -> None:
        """What failed is tried again by a later task."""
        del self._making[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("%s", error)
            if isinstance(error, EnvironmentFailed):
                self._failed[key] = time.monotonic(), error

    async def _make(self, key: str, folder: Path, spec: Mapping[str, object]) -> None:
        started, place = time.monotonic(), self._root / key
        log.info("making the virtual environment %s", place)
        try:
            with tempfile.NamedTemporaryFile("w", prefix="fedn-env-", suffix=".json") as file:
                json.dump(spec, file)
                file.flush()
                await run_in_process(self._builder(place, file.name, folder), time_limit_s=self._time_limit_s)
        except TaskTimeout as error:
            reason = f"the virtual environment was not made within {self._time_limit_s:g} s"
            raise EnvironmentFailed(reason, **error.detail) from error
        except TaskFailed as error:
            cause = cause_of(str(error.detail.get("stderr_tail", ""))) or error.reason
            reason = f"the virtual environment could not be made: {cause}"
            raise EnvironmentFailed(reason, **error.detail) from error
        finally:
            await asyncio.to_thread(self._sweep)
        if not self._use(key):
            raise EnvironmentFailed(f"the virtual environment {place} was removed as soon as it was made")
        log.info("the virtual environment %s was ready after %.1f s", place, time.monotonic() - started)

    def _builder(self, place: Path, spec: str, folder: Path) -> Run:
        return Run(
            command=(sys.executable, "-P", "-m", "fedn.client.environment_main"),
            arguments=(str(place), spec),
            cwd=folder,
            environ=without_secrets(os.environ),
            log=lambda line: log.info("pip: %s", line),
        )

    def _use(self, key: str) -> bool:
        """Whether the environment is there; if it is, it stays so for this process."""
        place = self._root / key
        if key not in self._in_use:
            try:
                self._in_use[key] = share(place)
            except (BlockingIOError, FileNotFoundError):
                return False
        self._in_use[key] = self._in_use.pop(key)  # it is the newest now
        try:
            os.utime(ready_file(place))
        except FileNotFoundError:
            os.close(self._in_use.pop(key))
            return False
        while len(self._in_use) > KEEP:
            os.close(self._in_use.pop(next(iter(self._in_use))))
        return True

    def _sweep(self) -> None:
        """Remove what was left half made, and of the others all that are old and not in use."""
        places = sorted({path.with_suffix("") for path in self._root.iterdir()}, key=last_used, reverse=True)
        for number, place in enumerate(places):
            if number >= KEEP or time.time() - last_used(place) > KEEP_S:
                with contextlib.suppress(BlockingIOError):
                    remove(place)


def key_of(digest: str, spec: Mapping[str, object]) -> str:
    """The name of the environment of a package, for this Python and this fedn."""
    ours = json.dumps([sys.version, sys.base_prefix, spec], sort_keys=True)
    return f"{digest[:32]}-{hashlib.sha256(ours.encode()).hexdigest()[:16]}"


def last_used(place: Path) -> float:
    """When the environment was used last, in seconds since the epoch; 0 when it is not complete."""
    try:
        return ready_file(place).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove(place: Path) -> None:
    """Remove an environment that nobody makes or uses. Raises BlockingIOError when somebody does."""
    with held(place):
        ready_file(place).unlink(missing_ok=True)  # first: half an environment must not be trusted
        shutil.rmtree(place, ignore_errors=True)
        lock_file(place).unlink(missing_ok=True)
