"""The token that a command shows to the reducer: from a file or the environment; `ps` would show an option."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fedn.config import FOR_ADMINS, FOR_MEMBERS
from fedn.errors import BadInput
from fedn.security.placeholders import check_token

_FILE = "fedn.token_file"
_LIMIT_BYTES = 4096


def keep(context: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Remember `--token-file` for this command."""
    if file is not None:
        context.meta[_FILE] = file


token_file = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=keep,
    expose_value=False,
    help=f"A file with the token; else {FOR_ADMINS} or {FOR_MEMBERS}.",
)


def given_token() -> str | None:
    """This command's token; None when there is none. Raises BadInput, ConfigInvalid for a file or token of no use."""
    context = click.get_current_context(silent=True)
    file = context.meta.get(_FILE) if context is not None else None
    if file is not None:
        return _checked(_read(file), str(file))
    for variable in (FOR_ADMINS, FOR_MEMBERS):
        token = os.environ.get(variable, "").strip()
        if token:
            return _checked(token, variable)
    return None


def _read(file: Path) -> str:
    """The first line: it is the one to show, also of a file that a role has (`fedn.security.token_file`)."""
    try:
        with file.open("rb") as content:
            return content.read(_LIMIT_BYTES).decode(errors="replace").strip().partition("\n")[0].strip()
    except OSError as error:
        raise BadInput(f"--token-file {file}: {error.strerror}") from None


def _checked(token: str, source: str) -> str:
    check_token(token, source)
    return token
