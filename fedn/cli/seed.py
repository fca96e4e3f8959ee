"""The seed model and the compute package of a project: made for the sandbox, or by hand.

::

    build (in the package folder) ─▶ init_model (in the project's) ─▶ seed model
      └▶ the package                    a project without init_model: build writes the seed model
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fedn.client.environment import Python
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Run
from fedn.config import without_secrets
from fedn.errors import BadInput, EntryPointFailed, FednError
from fedn.package.archive import create
from fedn.package.entry_point import Command
from fedn.package.project import FILE, Project

SEED = 42  # of the session, when nobody names one
OF_0_33 = "seed.npz"  # where the build of a project for FEDn 0.33 writes, whatever it is told

LIMIT_S = 3600.0  # nobody waits for ever for a script that hangs
OWN = Python()  # the one that runs us
Stamp = tuple[int, int, int]


def write_seed(
    project: Project,
    destination: Path,
    *,
    seed: int,
    environ: Mapping[str, str] = os.environ,
    python: Python = OWN,
) -> None:
    """Run the project's build, if it has one, and its init_model, by this Python; they are shown no secret.

    Without init_model, build writes the seed model: to the path that it is given, or as FEDn 0.33 had it, a seed.npz in
    the package folder or beside it. Raises BadInput when there is neither, CommandMissing, and EntryPointFailed with
    the stderr.
    """
    environ = python.environ(without_secrets(environ)) | {"FEDN_SESSION_SEED": str(seed)}
    if project.init_model is not None:
        _build(project, None, environ, python)
        _run("init_model", project.init_model, (destination,), project.folder, environ, python)
        if not destination.exists():
            raise EntryPointFailed("init_model ended well but did not write the seed model to the path it was given")
        return
    if "build" not in project.entry_points:
        wanted = "neither init_model nor the entry point build, one of which writes the seed model"
        raise BadInput(f"{project.folder / FILE} names {wanted}")
    before = {path: _stamp(path) for path in _places_of_0_33(project)}
    _build(project, destination, environ, python)
    if not destination.exists():
        written = [path for path, stamp in before.items() if path.is_file() and _stamp(path) != stamp]
        if not written:
            raise EntryPointFailed("build ended well but did not write the seed model to the path it was given")
        shutil.copyfile(written[0], destination)


def build_package(
    project: Project,
    destination: Path,
    *,
    seed: int = SEED,
    environ: Mapping[str, str] = os.environ,
    python: Python = OWN,
) -> str:
    """Run the project's build, if it has one, by this Python, and make the package; returns its sha256.

    Raises what `write_seed` does, and PackageInvalid.
    """
    environ = python.environ(without_secrets(environ)) | {"FEDN_SESSION_SEED": str(seed)}
    if "build" in project.entry_points:
        with tempfile.TemporaryDirectory(prefix="fedn-build-") as folder:
            _build(project, Path(folder) / "seed" if project.init_model is None else None, environ, python)
    return create(project, destination)


def _build(project: Project, model_out: Path | None, environ: Mapping[str, str], python: Python) -> None:
    entry = project.entry_points.get("build")
    if entry is not None:
        arguments = () if model_out is None else (model_out,)
        _run("build", entry.command, arguments, project.package_dir, environ, python)


def _run(
    name: str, command: Command, arguments: tuple[Path, ...], cwd: Path, environ: Mapping[str, str], python: Python
) -> None:
    paths = tuple(str(path.absolute()) for path in arguments)
    run = Run(command, paths, cwd=cwd, environ=environ, python=python.executable)
    try:
        asyncio.run(run_in_process(run, time_limit_s=LIMIT_S))
    except FednError as error:
        raise type(error)(f"{name}: {error.reason}", **error.detail) from None


def _places_of_0_33(project: Project) -> list[Path]:
    return [project.package_dir / OF_0_33, project.package_dir.parent / OF_0_33]


def _stamp(path: Path) -> Stamp | None:
    """What changes when a file is written."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
