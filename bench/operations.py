"""How often a round asks the state store, with ten clients: what a deployment's database has to bear.

Polls (is there a session, shall it stop) come so often per second, whatever happens, and are left out. The reducer's
driver runs in this process, over a state store that counts; the combiner is a process of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bench import scripted
from bench.command import command
from bench.figure import Figure
from bench.network import combiner, free_port, wait_until
from fedn.cli.processes import Processes
from fedn.config import ReducerSettings
from fedn.model.safetensors import digest_of
from fedn.reducer.desk import Desk
from fedn.reducer.discovery import add_combiner
from fedn.reducer.driver import Driver
from fedn.reducer.network import Network
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.sessions import Sessions
from fedn.reducer.trail import Trail
from fedn.storage.state import State

CLIENTS = 10
ROUNDS = 10
TARGET = 2.0  # for each client
NOWHERE = "http://127.0.0.1:9"  # a combiner works without its reducer's REST interface
POLLS = frozenset({("get", "sessions"), ("find", "sessions")})
LOOK_S = 0.05


class Counting:
    """A state store that counts what it is asked, but polls."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.asked = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        work = getattr(self._state, name)

        def counted(*args: Any, **more: Any) -> Any:
            self.asked += (name, str(args[0]) if args else "") not in POLLS
            return work(*args, **more)

        return counted


def run(*, clients: int = CLIENTS, rounds: int = ROUNDS) -> list[Figure]:
    """Operations of a round for each of its clients: what `rounds` rounds more than one took."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, Processes(Path(name) / "logs") as processes:
        place, port = Path(name), free_port()
        combiner(processes, place / "combiner", reducer=NOWHERE, port=port)
        address = f"127.0.0.1:{port}"
        wait_until(lambda: scripted.attached(address) == 0, processes)
        model = scripted.some_model(10_000)
        desk, counting = _desk(place, model, address)
        with scripted.clients(address, place, model, clients):
            wait_until(lambda: scripted.attached(address) == clients, processes)
            one, more = (asyncio.run(_asked(desk, counting, clients, count)) for count in (1, 1 + rounds))
        desk.close()
    of_round = (more - one) / rounds
    note = f"{of_round:g} of a round with {clients} clients"
    return [Figure("state operations per round per client", of_round / clients, "", TARGET, note=note)]


def _desk(place: Path, model: bytes, address: str) -> tuple[Desk, Counting]:
    desk = Desk.open(ReducerSettings(dir=place / "reducer"))
    for what, content in (("model", model), ("package", b"nobody unpacks it")):
        (place / what).write_bytes(content)
        desk.blobs.put(place / what, digest_of(place / what))
    package = {"digest": digest_of(place / "package"), "size": (place / "package").stat().st_size, "name": "scripted"}
    desk.state.insert("context", {"_id": "package", "entry_points": {"train": ["scripted"]}} | package)
    desk.trail.plant(digest_of(place / "model"), time=time.time())
    add_combiner(desk.state, [], name="combiner", identity="combiner", address=address)
    counting = Counting(desk.state)
    state = cast(State, counting)
    return replace(desk, state=state, trail=Trail(state), sessions=Sessions(state)), counting


async def _asked(desk: Desk, counting: Counting, clients: int, rounds: int) -> int:
    """How often a session of so many rounds asked."""
    config = SessionConfig(rounds=rounds, clients_required=clients, validate=False, seed=1)
    session = desk.sessions.create(config)["_id"]
    before, network = counting.asked, Network(desk.state)
    leading = asyncio.create_task(Driver(desk, network, term=1, fresh=lambda: True).lead(asyncio.Event()))
    found = await asyncio.to_thread(_ended, desk, session)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    await network.close()
    if found["status"] != "finished":
        raise RuntimeError(f"the session {found['status']}: {found['reason']}")
    return counting.asked - before


def _ended(desk: Desk, session: str) -> dict[str, Any]:
    while (found := desk.sessions.get(session))["ended"] is None:
        time.sleep(LOOK_S)
    return found


if __name__ == "__main__":
    command(run)()
