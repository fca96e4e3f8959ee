"""`fedn run local`: a project's scripts once each, on this machine and without a network."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fedn.aggregation.ranges import scan
from fedn.cli.advice import advice
from fedn.cli.client_settings import read_settings
from fedn.cli.own_environment import env_option, python_of, to_stderr
from fedn.cli.seed import SEED, write_seed
from fedn.client.outputs import Metadata
from fedn.client.rehearsal import Given, Rehearsal
from fedn.config import ClientSettings, load
from fedn.errors import BadInput, FednError
from fedn.model.safetensors import open_model
from fedn.package.archive import create, inspect
from fedn.package.project import Project, load_project


class Said:
    """What came out of a step: for a person, and as values."""

    def __init__(self) -> None:
        self.outcome = ""
        self.values: dict[str, Any] = {}

    def __call__(self, outcome: str, **values: Any) -> None:
        """Note it; the last word counts."""
        self.outcome, self.values = outcome, values


class Report:
    """The steps so far: a line for each as it ends, or all of them as JSON at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._steps: list[dict[str, Any]] = []
        self._notes: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Said]:
        """Time a step; what came out is said to what the block is given."""
        said, started = Said(), time.monotonic()
        try:
            yield said
        except FednError as error:
            self._ended(name, started, f"failed [{error.code}]", {})
            raise
        self._ended(name, started, said.outcome, said.values)

    def say(self, line: str) -> None:
        """Something that takes a while has begun."""
        if not self._as_json:
            to_stderr(line)

    def note(self, line: str) -> None:
        """Something that is no error, and probably not meant."""
        self._notes.append(line)

    def _ended(self, name: str, started: float, outcome: str, values: dict[str, Any]) -> None:
        step = {"step": name, "seconds": time.monotonic() - started, "outcome": outcome} | values
        if not self._as_json:
            if not self._steps:
                click.secho(f"{'step':<12} seconds  what came out", bold=True)
            click.echo(f"{name:<12} {step['seconds']:>7.2f}  {outcome}")
        self._steps.append(step)

    def close(self, error: FednError | None) -> None:
        """The last words."""
        if self._as_json:
            failure = None if error is None else error.as_json()
            click.echo(json.dumps({"steps": self._steps, "notes": self._notes, "error": failure}))
            return
        for line in self._notes:
            click.secho(f"be aware that {line}", fg="yellow")
        if error is None:
            click.secho("everything ran as the network would run it", fg="green")


@click.command()
@click.argument("project", type=click.Path(path_type=Path))
@env_option
@click.option("--setting", "settings", multiple=True, metavar="KEY=VALUE", help="A client setting; may be repeated.")
@click.option("--part", type=click.IntRange(0), default=0, show_default=True, help="The client's part of the data.")
@click.option("--parts", type=click.IntRange(1), default=5, show_default=True, help="How many parts there are.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True, help="Of the session.")
@click.option("--time-limit", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds for a script.")
@click.option("--data-dir", type=click.Path(path_type=str), help="The client's data.  [env: FEDN_DATA_DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def local(project: Path, as_json: bool, **given: Any) -> None:
    """Run PROJECT's scripts once each, without a network, and say what is wrong.

    The package is made, unpacked, run and checked as the network does it: a script that needs a file which does not
    travel fails here, too.

    \b
    Example:
      fedn run local myproject
      fedn run local myproject --no-env --setting epochs=2
    """
    report, error = Report(as_json=as_json), None
    settings, of_one = read_settings(given["settings"])
    if of_one:
        raise BadInput(f"--setting {next(iter(of_one))}:…: here is one client without a name; give KEY=VALUE")
    loaded = load_project(project)
    if given["part"] >= given["parts"]:
        raise BadInput(f"--part {given['part']}: the parts are 0 … {given['parts'] - 1}; --parts says how many")
    overrides = {name: given[name] for name in ("env", "parts", "data_dir")}
    client = load(ClientSettings, environ=os.environ, overrides=overrides)
    try:
        with tempfile.TemporaryDirectory(prefix="fedn-local-", ignore_cleanup_errors=True) as folder:
            rehearse(loaded, client, Path(folder), given | {"settings": settings}, report)
    except FednError as failure:
        error = failure
        error.detail["advice"] = advice(failure, loaded, own_python=not client.env or not loaded.manifest.python_env)
    report.close(error)
    if error is not None and as_json:
        raise SystemExit(error.exit_code)
    if error is not None:
        raise error


def rehearse(project: Project, client: ClientSettings, folder: Path, given: dict[str, Any], report: Report) -> None:
    """All steps in the order in which a network takes them. Raises what was wrong with the first that failed."""
    seed, archive = folder / "seed", folder / "package.tar"
    with ExitStack() as kept:
        with report.step("environment") as said:
            python = kept.enter_context(python_of(project, env=client.env, say=report.say))
            said(environment_in_words(project, client))
        with report.step("seed model") as said:
            write_seed(project, seed, seed=given["seed"], python=python)
            model = open_model(seed)
            scan(model)  # as the reducer, which takes no seed with NaN in it
            said(f"{counted(len(model.schema.tensors), 'tensor')}, {model.size:,} bytes")
    with report.step("package") as said:
        digest = create(project, archive)
        said(f"{counted(len(inspect(archive).files), 'file')}, {archive.stat().st_size:,} bytes")
    what = Given(
        archive=archive,
        digest=digest,
        model=seed,
        settings=given["settings"],
        part=given["part"],
        seed=given["seed"],
        time_limit_s=given["time_limit"],
    )
    asyncio.run(tasks(project, Rehearsal(what, client, folder / "client"), report))


async def tasks(project: Project, rehearsal: Rehearsal, report: Report) -> None:
    """What the client does. Raises TaskFailed, BadInput."""
    try:
        with report.step("unpack") as said:
            await rehearsal.prepare("train")
            said("as a client does")
        if "startup" in project.entry_points:
            with report.step("startup"):
                await rehearsal.start_up()
        with report.step("train") as said:
            trained = await rehearsal.train()
            said(in_words(trained.metadata), **asdict(trained.metadata))
        if not trained.changed:
            report.note("train wrote the very model that it was given: it has learnt nothing")
        if "validate" in project.entry_points:
            with report.step("validate") as said:
                measured = await rehearsal.validate(trained.model)
                said(in_words(measured), **asdict(measured))
        else:
            report.note("there is no entry point validate: rounds will show no accuracy")
        if "predict" in project.entry_points:
            with report.step("predict") as said:
                said(f"{await rehearsal.predict(trained.model):,} bytes of JSON")
    finally:
        await rehearsal.stop()


def environment_in_words(project: Project, client: ClientSettings) -> str:
    """Which Python runs the scripts."""
    asked = project.manifest.python_env
    if asked is None:
        return "this Python: fedn.yaml names no python_env"
    return (
        f"a virtual environment of {asked}" if client.env else f"this Python, not an environment of {asked} (--no-env)"
    )


def in_words(metadata: Metadata) -> str:
    """Metrics, and on how many examples."""
    metrics = "".join(f", {name} {value:.4g}" for name, value in sorted(metadata.metrics.items()))
    return counted(metadata.num_examples, "example") + metrics


def counted(count: int, what: str) -> str:
    """1 tensor, 2 tensors."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
