"""The seed model and the compute package of a project: made for the sandbox, or by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fedn.config import without_secrets
from fedn.errors import BadInput, CommandMissing, EntryPointFailed
from fedn.package.project import Project


def write_seed(project: Project, destination: Path, *, seed: int, environ: Mapping[str, str] = os.environ) -> None:
    """Run the project's init_model, which is shown no secret.

    Raises BadInput when there is none, EntryPointFailed with its stderr.
    """
    if project.init_model is None:
        raise BadInput(f"{project.folder / 'fedn.yaml'} names no init_model, which writes the seed model")
    first, *rest = project.init_model
    command = [sys.executable if first in ("python", "python3") else first, *rest, str(destination.absolute())]
    try:
        done = subprocess.run(
            command,
            cwd=project.folder,
            env=without_secrets(environ) | {"FEDN_SESSION_SEED": str(seed)},
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise CommandMissing(f"init_model: {first}: {error.strerror}") from None
    if done.returncode != 0 or not destination.exists():
        tail = done.stderr.decode(errors="replace")
        raise EntryPointFailed("init_model did not write the seed model", stderr_tail=tail)
