"""`fedn health`: is the role on this machine ready? Without a token, and quick enough to be asked every few seconds."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import click

from fedn.errors import Unavailable
from fedn.storage import readiness

PATIENCE_S = 8.0

file_option = click.Path(dir_okay=False, path_type=Path)


@click.group()
def health() -> None:
    """Ask whether a role on this machine is ready: exit code 0, or the reason why not.

    \b
    Example:
      fedn health reducer
    """


@health.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8090,
    show_default=True,
    envvar="FEDN_REDUCER_PORT",
    help="Port of the reducer on this machine.",
)
def reducer(port: int) -> None:
    """Ask the reducer whether its stores answer.

    \b
    Example:
      fedn health reducer --port 8090
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/ready", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(65536)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the reducer does not answer at port {port}: {error}") from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Unavailable(_reason(body) or f"the reducer at port {port} answers with status {answer.status}")
    click.echo("ready")


@health.command()
@click.option(
    "--ready-file", type=file_option, required=True, envvar="FEDN_COMBINER_READY_FILE", help="Its ready_file."
)
def combiner(ready_file: Path) -> None:
    """Ask whether the combiner listens, and the reducer knows it.

    \b
    Example:
      fedn health combiner --ready-file /tmp/ready
    """
    readiness.check(ready_file)
    click.echo("ready")


@health.command()
@click.option("--ready-file", type=file_option, required=True, envvar="FEDN_CLIENT_READY_FILE", help="Its ready_file.")
def client(ready_file: Path) -> None:
    """Ask whether the client is attached to a combiner.

    \b
    Example:
      fedn health client --ready-file /tmp/ready
    """
    readiness.check(ready_file)
    click.echo("ready")


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["reason"])
    except (ValueError, KeyError, TypeError):
        return ""
