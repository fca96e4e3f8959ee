"""`fedn env`: the `.env` of a deployment with docker-compose, with secrets of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from fedn.cli.env_file import SECRETS, rendered
from fedn.errors import Conflict, FolderUnusable

SECRET_BYTES = 32


@click.group()
def env() -> None:
    """Make the .env of a deployment.

    \b
    Example:
      fedn env init
    """


@env.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".env"),
    show_default=True,
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Replace the file: stores that were made with its secrets need them still.")
def init(output: Path, force: bool) -> None:
    """Write .env with random passwords and tokens, for its owner alone.

    \b
    Example:
      fedn env init -o .env
    """
    text = rendered({name: secrets.token_urlsafe(SECRET_BYTES) for name in SECRETS})
    fresh = output.with_name(f"{output.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            place(fresh, output, force=force)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise FolderUnusable(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: {len(SECRETS)} secrets made; keep it, the stores are locked with it")


def place(fresh: Path, output: Path, *, force: bool) -> None:
    """Give the file its name, in the place of another only by `force`. Raises Conflict."""
    if force:
        fresh.replace(output)
        return
    try:
        os.link(fresh, output)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise Conflict(f"{output} is there already, and its secrets may be in use; --force replaces it") from None
