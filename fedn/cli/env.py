"""`fedn env`: the `.env` of a deployment with docker-compose, with secrets of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from fedn.cli.env_check import findings, values_of
from fedn.cli.env_file import SECRETS, rendered
from fedn.errors import ConfigInvalid, Conflict, FolderUnusable

SECRET_BYTES = 32
STDOUT = Path("-")


@click.group()
def env() -> None:
    """Make the .env of a deployment, and check one.

    \b
    Example:
      fedn env init
      fedn env check
    """


@env.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default=Path(".env"),
    show_default=True,
    help="File to write; - for stdout.",
)
@click.option("--force", is_flag=True, help="Replace the file: stores that were made with its secrets need them still.")
def init(output: Path, force: bool) -> None:
    """Write .env with random passwords and tokens, for its owner alone.

    \b
    Example:
      fedn env init -o .env
    """
    text = rendered({name: secrets.token_urlsafe(SECRET_BYTES) for name in SECRETS})
    if output == STDOUT:
        click.echo(text, nl=False)
    else:
        write(text, output, force=force)
    shown = "stdout" if output == STDOUT else output
    click.echo(f"{shown}: {len(SECRETS)} secrets made; keep it, the stores are locked with it", err=True)


@env.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path), default=Path(".env")
)
def check(file: Path) -> None:
    """Name each secret of FILE (else .env) that is empty, a placeholder, or of characters that cannot be used.

    \b
    Example:
      fedn env check .env
    """
    wrong = list(findings(values_of(file.read_text(errors="replace"))))
    if wrong:
        raise ConfigInvalid(f"{file}: {'; '.join(wrong)}")
    click.echo(f"{file}: all {len(SECRETS)} secrets are there")


def write(text: str, output: Path, *, force: bool) -> None:
    """Write the whole file or nothing, for its owner alone. Raises Conflict, FolderUnusable."""
    if (output.exists() or output.is_symlink()) and (output.is_symlink() or not output.is_file()):
        raise FolderUnusable(f"{output} is no regular file, and is left as it is")
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


def place(fresh: Path, output: Path, *, force: bool) -> None:
    """Give the file its name, in the place of another only by `force`. Raises Conflict."""
    if force:
        fresh.replace(output)
        return
    try:
        os.link(fresh, output)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise Conflict(f"{output} is there already, and its secrets may be in use; --force replaces it") from None
