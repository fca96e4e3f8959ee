"""The Python that runs a project's scripts on the user's machine: of its environment, as on a client."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fedn.client.environment import Environments, Python
from fedn.config import ClientSettings, load
from fedn.package.archive import create
from fedn.package.project import Project

env_option = click.option(
    "--env/--no-env", default=None, help="Run scripts in the environment that python_env asks for.  [default: yes]"
)


@contextmanager
def python_of(
    project: Project, *, env: bool | None, needed: bool = True, say: Callable[[str], None]
) -> Iterator[Python]:
    """The project's Python for the block; its environment is made if need be, and kept where a client would find it.

    `env`: as the user said; None: as the client's settings say. Raises EnvironmentFailed,
    PackageInvalid, ConfigInvalid.
    """
    settings = load(ClientSettings, environ=os.environ, overrides={"env": env})
    if not needed or project.manifest.python_env is None or not settings.env:
        yield Python()
        return
    say(f"virtual environment of {project.manifest.python_env}: made once, then kept; --no-env does without")
    with tempfile.TemporaryDirectory(prefix="fedn-environment-") as folder:
        digest = create(project, Path(folder) / "package.tar")
    environments = Environments(settings.env_dir, time_limit_s=settings.env_timeout_s)
    try:
        yield asyncio.run(environments.python(digest, project.package_dir, project.manifest))
    finally:
        asyncio.run(environments.stop())


def to_stderr(line: str) -> None:
    """Say it beside the command's own output."""
    click.echo(line, err=True)
