"""`fedn run`: one role as a process, until it is stopped; and a project's scripts without any network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from fedn.cli.options import log_as_json, log_to_stderr, of_settings, settings_of
from fedn.config import ClientSettings, CombinerSettings, ReducerSettings
from fedn.storage.descriptors import raise_limit


class Run(click.Group):
    """The roles are imported when they are run; so is what runs a project, which needs a client's extra."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The roles, and `local`."""
        return sorted([*super().list_commands(ctx), "local"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name != "local":
            return super().get_command(ctx, cmd_name)
        from fedn.cli.local import local

        return local


@click.group(cls=Run)
def run() -> None:
    """Run one role of the network as a process; or a project's scripts, without a network.

    \b
    Example, in three terminals:
      fedn run reducer
      fedn run combiner
      fedn run client
    """
    raise_limit()


@run.command()
@of_settings(ReducerSettings)
@log_as_json
def reducer(as_json: bool, **given: Any) -> None:
    """Run the reducer: REST, dashboard, discovery, sessions, the model trail.

    \b
    Example:
      fedn run reducer --port 8090 --dir /var/lib/fedn/reducer
    """
    from fedn.reducer.server import serve

    settings = settings_of(ReducerSettings, given)
    log_to_stderr(settings.log_level, lambda: "reducer", as_json=as_json)
    serve(settings, listening=lambda address: click.echo(announced(address, as_json)))


def announced(address: str, as_json: bool) -> str:
    """The one line on stdout: where the reducer is."""
    return json.dumps({"reducer": address}) if as_json else f"reducer at {address}"


@run.command()
@of_settings(CombinerSettings)
@log_as_json
def combiner(as_json: bool, **given: Any) -> None:
    """Run a combiner: a server for its own clients, which aggregates their updates.

    \b
    Example:
      fedn run combiner --name north --reducer http://127.0.0.1:8090
    """
    from fedn.combiner.server import serve

    settings = settings_of(CombinerSettings, given)
    log_to_stderr(settings.log_level, lambda: "combiner", as_json=as_json)
    asyncio.run(serve(settings))


@run.command()
@of_settings(ClientSettings)
@log_as_json
def client(as_json: bool, **given: Any) -> None:
    """Run a client: trains and validates on private data; it opens no port.

    \b
    Example; and a hundred clients in one process, two of which train at a time:
      fedn run client --name hospital-1 --reducer http://127.0.0.1:8090 --dir ./client-1
      fedn run client --name lab --replicas 100 --workers 2 --dir ./lab
    """
    from fedn.client import who
    from fedn.client.pool import serve

    settings = settings_of(ClientSettings, given)
    log_to_stderr(settings.log_level, lambda: who.name.get() or settings.name or "client", as_json=as_json)
    asyncio.run(serve(settings))
