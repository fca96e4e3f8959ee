"""Options that several commands share, and those that are generated from a role's settings."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click

from fedn.cli.token import token_file
from fedn.config import ClientSettings, CombinerSettings, ReducerSettings, load, variable

S = TypeVar("S", ReducerSettings, CombinerSettings, ClientSettings)
Command = Callable[..., Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
log_as_json = click.option("--json", "as_json", is_flag=True, help="Log JSON lines, for machines.")
_reducer = click.option(
    "--reducer",
    metavar="URL",
    default="http://127.0.0.1:8090",
    envvar="FEDN_CLIENT_REDUCER",
    show_default=True,
    help="Address of the reducer; of several, with commas between, the one that answers is asked.",
)


def reducer_address(command: Command) -> Command:
    """The options of a command that talks to a reducer: where it is, and a file with the token to show."""
    return _reducer(token_file(command))


def encoding_options(command: Command) -> Command:
    """In which form a session's models and updates travel."""
    for option in (
        click.option(
            "--compression",
            type=click.Choice(["none", "zstd"]),
            help="Of transfers between combiners and clients.  [default: none]",
        ),
        click.option(
            "--wire-dtype",
            type=click.Choice(["float32", "float16", "bfloat16"]),
            help="In which type float32 tensors travel to and from clients.  [default: float32]",
        ),
    ):
        command = option(command)
    return command


def of_settings(cls: type[S]) -> Callable[[Command], Command]:
    """One option per field of the role's settings, and --settings for a file of them."""

    def decorate(command: Command) -> Command:
        hints = get_type_hints(cls)
        for f in reversed(fields(cls)):
            if f.metadata.get("secret"):
                continue  # `ps` would show it
            kind = next((t for t in get_args(hints[f.name]) if t is not type(None)), hints[f.name])
            shown = "" if f.default is MISSING or f.default is None else f"  [default: {shown_default(f.default)}]"
            name = f.name.replace("_", "-")
            command = click.option(
                f"--{name}/--no-{name}" if kind is bool else f"--{name}",
                f.name,
                default=None,
                type={int: int, float: float, bool: bool}.get(kind, str),
                help=f"{f.metadata['help']}{shown}  [env: {variable(cls, f.name)}]",
            )(command)
        of_file = click.Path(dir_okay=False, path_type=Path)
        return click.option("--settings", "file", type=of_file, help="A YAML file of these settings.")(command)

    return decorate


def shown_default(value: object) -> str:
    """A default as a settings file would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings_of(cls: type[S], given: dict[str, Any]) -> S:
    """The role's settings: defaults, file, environment, options."""
    file = given.pop("file")
    return load(cls, file=file, environ=os.environ, overrides=given)


class JsonLines(logging.Formatter):
    """Each log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """time (seconds since the epoch), level, role, logger, message, and the traceback if there is one."""
        line = {
            "time": record.created,
            "level": record.levelname.lower(),
            "role": record.__dict__["role"],
            "logger": record.name,
        }
        said = {"message": record.getMessage()}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line | said)


def log_to_stderr(level: str, role: Callable[[], str], *, as_json: bool) -> None:
    """One line per event on stderr; `role` says at each line who speaks."""

    def signed(record: logging.LogRecord) -> bool:
        record.__dict__["role"] = role()
        return True

    text = logging.Formatter("%(asctime)s %(levelname)-7s %(role)s: %(message)s", datefmt="%H:%M:%S")
    writer = logging.StreamHandler(sys.stderr)
    writer.addFilter(signed)
    writer.setFormatter(JsonLines() if as_json else text)
    logging.basicConfig(level=level.upper(), handlers=[writer], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
