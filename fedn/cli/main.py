"""`fedn`: the command. Each noun is a module, loaded only when it is called."""

from __future__ import annotations

import importlib
import os
import sys

import click

from fedn import __version__
from fedn.errors import BadInput, FednError, Interrupted

# noun → module and the function in it
COMMANDS = {
    "init": "fedn.cli.init:init",
    "run": "fedn.cli.run:run",
    "sandbox": "fedn.cli.sandbox:sandbox",
    "package": "fedn.cli.package:package",
    "model": "fedn.cli.model:model",
    "session": "fedn.cli.session:session",
    "predict": "fedn.cli.predict:predict",
    "trail": "fedn.cli.trail:trail",
    "env": "fedn.cli.env:env",
    "health": "fedn.cli.health:health",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are asked for: a client starts without Flask."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The nouns, in the order that a newcomer meets them."""
        return ["sandbox", "init", "run", "package", "session", "model", "predict", "trail", "env", "health"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The noun's command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fedn")
def cli() -> None:
    """FEDn: federated learning that data owners can run for real.

    \b
    Example, everything on this machine:
      fedn sandbox test/digits
    """


def main() -> None:
    """Run the command line; every failure is one sentence and an exit code by its kind."""
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # `fedn trail list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except FednError as error:
        complain(error)
    except ModuleNotFoundError as error:
        missing(error)
    except click.exceptions.Abort:
        complain(Interrupted())
    except KeyboardInterrupt:
        complain(Interrupted())
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def complain(error: FednError) -> None:
    """Say what went wrong, with its code, and leave."""
    click.secho(f"error: {error.reason}", fg="red", err=True, nl=False)
    click.secho(f" [{error.code}]", dim=True, err=True)
    tail = str(error.detail.get("stderr_tail", "")).strip()
    if tail:
        click.echo("\n".join(f"  │ {line}" for line in tail.splitlines()[-15:]), err=True)
    if advice := error.detail.get("advice"):
        click.echo(f"  → {advice}", err=True)
    sys.exit(error.exit_code)


def missing(error: ModuleNotFoundError) -> None:
    """A role's extra is not installed."""
    if (error.name or "").partition(".")[0] not in ("flask", "gunicorn", "grpc", "google", "pymongo", "bson"):
        raise error
    complain(BadInput(f"this role needs {error.name!r}: pip install 'fedn[reducer,combiner,client]', or the one extra"))
