"""`fedn session`: begin, watch, stop and list training runs."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fedn.cli import failures
from fedn.cli.client_settings import read_object
from fedn.cli.live import decimal
from fedn.cli.options import as_json, encoding_options, reducer_address
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import NotFound


@click.group()
def session() -> None:
    """Run sessions: training runs of a number of rounds.

    \b
    Example:
      fedn session start --rounds 10
    """


@session.command()
@click.option("--rounds", type=int, help="How many global steps.  [default: 10]")
@click.option("--round-timeout", type=float, help="Seconds after which a round closes.  [default: 300]")
@click.option("--wait-timeout", type=float, help="Seconds to wait for enough clients.  [default: 300]")
@click.option("--clients-required", type=int, help="The quorum of a round.  [default: 1]")
@click.option("--clients-requested", type=int, help="Participants of a round.  [default: all that are connected]")
@click.option("--attempts", type=int, help="How often a round is tried.  [default: 3]")
@click.option("--validate/--no-validate", default=None, help="Validate each new model.  [default: yes]")
@click.option("--seed", type=int, help="Fixes sampling, splits and training.  [default: random]")
@click.option("--settings", metavar="JSON", help="Client settings, a JSON object.")
@click.option("--client-settings", metavar="JSON", help='Client settings for single clients, {"NAME": {…}, …}.')
@encoding_options
@reducer_address
@as_json
def start(reducer: str, as_json: bool, **given: Any) -> None:
    """Start a session on the newest model of the trail.

    \b
    Example:
      fedn session start --rounds 20 --clients-required 3 --settings '{"epochs": 2}'
      fedn session start --client-settings '{"client-3": {"epochs": 5}}'
    """
    given["settings"] = read_object(given["settings"], "--settings")
    given["client_settings"] = read_object(given["client_settings"], "--client-settings")
    with ReducerApi(reducer) as api:
        started = api.post("/start", {key: value for key, value in given.items() if value is not None})
    click.echo(json.dumps(started) if as_json else f"session {started['session']} started; watch {reducer}/plot")


@session.command()
@click.argument("session_id", required=False)
@reducer_address
@as_json
def status(session_id: str | None, reducer: str, as_json: bool) -> None:
    """Show a session and its rounds; without an id, the newest.

    \b
    Example:
      fedn session status
    """
    with ReducerApi(reducer) as api:
        found = api.get(f"/api/v1/sessions/{session_id or newest(api)}")
    if as_json:
        click.echo(json.dumps(found))
        return
    console = Console(highlight=False)
    reason = f": {found['reason']}" if found["reason"] else ""
    console.print(f"session {found['id']} is {found['status']}{reason}", markup=False)
    for warning in found["warnings"]:
        console.print(f"be aware that {warning}", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("round", "status", "participants", "updates", "seconds", "loss", "accuracy"):
        table.add_column(column, justify="right")
    for line in found["rounds"]:
        seconds = "–" if line["seconds"] is None else f"{line['seconds']:.2f}"
        counts = (
            str(line["round"]),
            line["status"],
            str(line["participants"]),
            str(line["updates"]),
            seconds,
        )
        table.add_row(*counts, decimal(line["loss"]), decimal(line["accuracy"]))
    console.print(table)
    for line in found["rounds"]:
        for loss in line["losses"]:
            lost = f"round {line['round']}: combiner {loss['combiner']} was lost: {loss['reason']} [{loss['code']}]"
            console.print(lost, markup=False)
        for failure in line["failures"]:
            console.print(f"round {line['round']}:", *failures.in_words(failure), sep="\n  ", markup=False)


@session.command()
@click.argument("session_id", required=False)
@reducer_address
@as_json
def stop(session_id: str | None, reducer: str, as_json: bool) -> None:
    """Stop a session; its finished rounds stay in the trail.

    \b
    Example:
      fedn session stop
    """
    with ReducerApi(reducer) as api:
        stopped = api.post(f"/api/v1/sessions/{session_id or newest(api)}/stop")
    over = stopped["status"] not in ("waiting", "running")
    said = f"has ended already: {stopped['status']}" if over else "is asked to stop"
    click.echo(json.dumps(stopped) if as_json else f"session {stopped['session']} {said}")


@session.command("list")
@reducer_address
@as_json
def list_(reducer: str, as_json: bool) -> None:
    """List all sessions, newest first.

    \b
    Example:
      fedn session list --json
    """
    with ReducerApi(reducer) as api:
        sessions = api.get("/api/v1/sessions")["sessions"]
    if as_json:
        click.echo(json.dumps(sessions))
        return
    for found in sessions:
        click.echo(f"{found['id']}  {found['status']:<9} {found['config']['rounds']} rounds  {found['reason']}")


def newest(api: ReducerApi) -> str:
    """The id of the newest session. Raises NotFound."""
    sessions = api.get("/api/v1/sessions")["sessions"]
    if not sessions:
        raise NotFound("no session has been started yet")
    return str(sessions[0]["id"])
