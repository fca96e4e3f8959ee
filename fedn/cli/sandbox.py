"""`fedn sandbox`: a whole network on this machine; the same processes and the same wire as a deployment."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from fedn.cli import failures
from fedn.cli.client_settings import read_settings
from fedn.cli.live import Live, closing_table
from fedn.cli.memory import PeakMemory
from fedn.cli.options import encoding_options
from fedn.cli.own_environment import env_option, python_of
from fedn.cli.own_reducer import COME_UP_S, start_reducer
from fedn.cli.processes import Processes, broken, how_it_ended, ignore_interrupts, on_interrupt
from fedn.cli.reducer_api import ReducerApi
from fedn.cli.seed import write_seed
from fedn.cli.target import Target
from fedn.config import ClientSettings, CombinerSettings, ReducerSettings, load, secrets, without_secrets
from fedn.errors import BadInput, ConfigInvalid, Unavailable, from_code
from fedn.package.archive import create
from fedn.package.project import Project, load_project
from fedn.reducer.session_config import SessionConfig
from fedn.security.tokens import tokens_of
from fedn.storage.folder import prepare
from fedn.storage.opening import check_places

WAIT_S = 30.0  # for clients_required clients: here nobody starts one again that has died
LOOK_S = 0.1
a_file = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Size:
    """How large the network is, and how long it trains."""

    combiners: int
    clients: int
    rounds: int
    seed: int
    workers: int | None  # of the one process that hosts all clients; None: each client has a process of its own

    @property
    def in_words(self) -> str:
        """How large, for a person."""
        shared = "" if self.workers is None else f" in one process, {self.workers} of which work at a time"
        return f"{self.combiners} combiners, {self.clients} clients{shared}"


@click.command()
@click.argument("project", type=click.Path(path_type=Path), default=Path("test/digits"))
@click.option("--combiners", type=click.IntRange(1, 64), default=2, show_default=True, help="Number of combiners.")
@click.option("--clients", type=click.IntRange(1, 1000), help="Clients, each a process of its own.  [default: 5]")
@click.option("--replicas", type=click.IntRange(1, 10_000), help="Instead of --clients: so many in one process.")
@click.option("--workers", type=click.IntRange(1, 1024), help="With --replicas: tasks that run at once.  [default: 1]")
@click.option("--rounds", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Number of rounds.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=42,
    show_default=True,
    help="Fixes everything random.",
)
@click.option("--clients-required", type=int, default=1, show_default=True, help="The quorum of a round.")
@click.option("--clients-requested", type=int, default=None, help="Participants of a round.  [default: all]")
@click.option("--round-timeout", type=float, default=300.0, show_default=True, help="Seconds until a round closes.")
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="[NAME:]KEY=VALUE",
    help="A client setting, for all or for the client NAME; may be repeated.",
)
@encoding_options
@click.option(
    "--port", type=click.IntRange(1, 65535), default=None, help="Port of the dashboard.  [default: 8090, or a free one]"
)
@click.option("--state", metavar="URL", help="State store, mongodb://HOST:PORT/DATABASE.  [default: embedded]")
@click.option("--blobs", metavar="URL", help="Blob store, s3://HOST:PORT/BUCKET[?tls=false].  [default: embedded]")
@env_option
@click.option("--json", "json_file", type=a_file, help="Write the result to this file.")
@click.option("--model", "model_file", type=a_file, help="Write the final model to this file.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep stores and logs in this folder.")
def sandbox(project: Path, **given: Any) -> None:
    """Train PROJECT on this machine: a reducer, combiners and clients as separate processes.

    The same --seed gives the same final model, however many combiners there are.

    \b
    Example:
      fedn sandbox test/digits --combiners 2 --clients 5 --rounds 10 --json out.json
      fedn sandbox test/mnist-pytorch --replicas 100 --workers 2 --clients-requested 10 --rounds 100
    """
    on_interrupt(interrupt)
    loaded = load_project(project)
    with workspace(given["keep"]) as folder:
        Sandbox(loaded, folder, given).run()


def interrupt(*_: object) -> NoReturn:
    """The first Ctrl-C ends the sandbox; more of them must not disturb its end."""
    ignore_interrupts()
    raise KeyboardInterrupt


@contextlib.contextmanager
def workspace(keep: Path | None) -> Iterator[Path]:
    """The folder of the run: kept where the user says, else temporary."""
    if keep is not None:
        kept = prepare(keep)
        if any(kept.iterdir()):
            raise BadInput(f"{keep} is not empty; --keep wants a new folder")
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="fedn-sandbox-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Sandbox:
    """One run, from empty folders to a verified trail."""

    def __init__(self, project: Project, folder: Path, given: dict[str, Any]) -> None:
        self._project = project
        self._folder = folder
        self._given = given
        self._size = size_of(given)
        self._config = session_config(given)
        if self._config["clients_required"] > self._size.clients:
            raise ConfigInvalid(f"clients_required is {self._config['clients_required']}, more than there are clients")
        for path in (given["json_file"], given["model_file"]):
            if path is not None:
                prepare(path.absolute().parent)  # now, and not after an hour of training
        named = {name: given[name] for name in ("state", "blobs") if given[name] is not None}
        keys = {name: os.environ[name] for name in secrets(ReducerSettings) if name in os.environ}
        reducer = load(ReducerSettings, environ=keys, overrides=named)
        check_places(reducer)
        tokens_of(reducer)
        self._stores = [word for name, url in named.items() for word in (f"--{name}", url)]
        self._address = ""
        self._target = Target(project.manifest.target)
        self._memory: PeakMemory | None = None

    def run(self) -> None:
        """Start, train, verify, stop. Raises what ended the session, if it did not finish."""
        with Live(self._size.rounds) as live, Processes(self._folder / "logs", orphans=True) as processes:
            live.say(f"{self._project.name}: {self._size.in_words}")
            seed, package = self._build(live)
            self._address = start_reducer(processes, self._folder / "reducer", self._stores, wanted=self._given["port"])
            with ReducerApi(self._address) as api:
                live.say(f"dashboard {self._address}/")
                api.upload("/context", package)
                api.upload("/seed", seed)
                self._start_combiners(processes, api)
                self._start_clients(processes)
                self._wait_for_clients(processes, api, live)
                session, started = api.post("/start", self._config)["session"], time.monotonic()
                final = self._watch(processes, api, live, session)
                wall_s = time.monotonic() - started
                verified = final["status"] == "finished" and api.verify_trail()
                result = self._result(final, bool(verified), wall_s)
                self._write(api, result)
        live.finish()
        closing_table(result, verified.records if verified else 0)
        if final["status"] != "finished":
            reason = f"the session {final['status']}: {final['reason']}"
            raise from_code(final["code"], reason, stderr_tail=failures.of_session(final))

    def _build(self, live: Live) -> tuple[Path, Path]:
        """The seed model and the compute package of the project."""
        seed, package = self._folder / "seed.safetensors", self._folder / "package.tar"
        with python_of(self._project, env=self._given["env"], say=live.say) as python:
            write_seed(self._project, seed, seed=self._size.seed, environ=self._client_environ(), python=python)
        create(self._project, package)
        return seed, package

    def _client_environ(self) -> dict[str, str]:
        """Several trainers share this machine: each computes in one thread, and always in the same way."""
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return one | without_secrets(os.environ, of=ClientSettings) | {"FEDN_PARTS": str(self._size.clients)}

    def _start_combiners(self, processes: Processes, api: ReducerApi) -> None:
        """All are up before the first client asks, so that the clients are spread evenly."""
        for k in range(1, self._size.combiners + 1):
            name = f"combiner-{k}"
            where = ["--name", name, "--reducer", self._address, "--dir", str(self._folder / name)]
            processes.start(name, ["run", "combiner", *where], without_secrets(os.environ, of=CombinerSettings))
        self._until(processes, "combiners", self._size.combiners, lambda: up(api.get("/api/v1/network")))

    def _start_clients(self, processes: Processes) -> None:
        shared = ["--reducer", self._address, "--parts", str(self._size.clients)]
        if self._given["env"] is not None:
            shared.append("--env" if self._given["env"] else "--no-env")
        if self._size.workers is not None:
            many = ["--replicas", str(self._size.clients), "--workers", str(self._size.workers)]
            where = ["--name", "client", "--dir", str(self._folder / "pool")]
            pool = processes.start("pool", ["run", "client", *where, *shared, *many], self._client_environ())
            self._memory = PeakMemory(pool.process.pid)
            return
        for k in range(1, self._size.clients + 1):
            where = ["--name", f"client-{k}", "--dir", str(self._folder / f"client-{k}")]
            processes.start(f"client-{k}", ["run", "client", *where, *shared], self._client_environ())

    def _wait_for_clients(self, processes: Processes, api: ReducerApi, live: Live) -> None:
        """All of them: the same seed gives the same model only with the same participants."""

        def connected() -> int:
            count = int(api.get("/api/v1/network")["connected"])
            live.connecting(count, self._size.clients)
            return count

        self._until(processes, "clients", self._size.clients, connected)

    def _until(self, processes: Processes, what: str, wanted: int, count: Callable[[], int]) -> None:
        deadline = time.monotonic() + COME_UP_S
        while (there := count()) < wanted:
            for dead in processes.newly_dead():
                raise broken(dead)
            if time.monotonic() > deadline:
                raise Unavailable(f"{there} of {wanted} {what} are there after {COME_UP_S:g} s")
            time.sleep(LOOK_S)

    def _watch(self, processes: Processes, api: ReducerApi, live: Live, session_id: str) -> dict[str, Any]:
        """Show the session until it has ended; who dies is named, and the session goes on without it."""
        started = time.monotonic()
        while True:
            if self._memory is not None:
                self._memory.look()
            with contextlib.suppress(Unavailable):  # it is busy, or it has died
                session: dict[str, Any] = api.get(f"/api/v1/sessions/{session_id}")
                live.show(session)
                self._target.look(session, time.monotonic() - started)
                if session["ended"] is not None:
                    return session
            for dead in processes.newly_dead():
                if dead.name == "reducer":
                    raise broken(dead)
                live.say(f"[yellow]{how_it_ended(dead)}[/]; the others go on")
            time.sleep(LOOK_S)

    def _result(self, session: dict[str, Any], verified: bool, wall_s: float) -> dict[str, Any]:
        rounds = [r for r in session["rounds"] if r["status"] == "committed"]
        keys = ("round", "seconds", "loss", "accuracy")
        return {
            "project": self._project.name,
            "seed": self._size.seed,
            "combiners": self._size.combiners,
            "clients": self._size.clients,
            "rounds": [
                {"participants": r["updates"], "model_id": r["model"]} | {key: r[key] for key in keys} for r in rounds
            ],
            "final_model_id": rounds[-1]["model"] if rounds else None,
            "trail_verified": verified,
            "wall_s": wall_s,
            "target": self._target.as_json(),
            "memory": self._memory.as_json() if self._memory is not None else None,
            "dashboard": f"{self._address}/",
        }

    def _write(self, api: ReducerApi, result: dict[str, Any]) -> None:
        if self._given["json_file"] is not None:
            self._given["json_file"].write_text(json.dumps(result, indent=2) + "\n")
        if self._given["model_file"] is not None and result["final_model_id"] is not None:
            api.pull(result["final_model_id"], self._given["model_file"])


def size_of(given: dict[str, Any]) -> Size:
    """The size that was asked for. Raises BadInput."""
    clients, replicas, workers = given["clients"], given["replicas"], given["workers"]
    if clients is not None and replicas is not None:
        raise BadInput("--clients and --replicas exclude each other: processes of their own, or one for all")
    if workers is not None and replicas is None:
        raise BadInput("--workers is for --replicas: how many of these clients work at a time")
    shared = None if replicas is None else workers or 1
    return Size(given["combiners"], replicas or clients or 5, given["rounds"], given["seed"], shared)


def up(network: dict[str, Any]) -> int:
    """How many combiners take clients."""
    return sum(combiner["up"] for combiner in network["combiners"])


def session_config(given: dict[str, Any]) -> dict[str, Any]:
    """What /start is asked for. Raises BadInput."""
    settings, client_settings = read_settings(given["settings"])
    names = ("rounds", "seed", "clients_required", "clients_requested", "round_timeout", "wire_dtype", "compression")
    asked = {name: given[name] for name in names} | {"settings": settings, "client_settings": client_settings}
    return SessionConfig.parse(asked | {"wait_timeout": WAIT_S}).as_json()
