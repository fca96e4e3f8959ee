"""How often a session asks the state store: per round, whatever the number of clients; polls are per second."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from fedn.reducer.driver import Driver
from fedn.reducer.network import Network
from fedn.reducer.session_config import SessionConfig
from test.unit.away import guard
from test.unit.combiner_bench import until
from test.unit.reducer_bench import learns, reducer

ROUNDS = 3


async def calls(folder: Path, clients: int, rounds: int, *, validate: bool) -> Counter[tuple[str, str]]:
    """What a session asked of the state store."""
    async with reducer(folder, combiners=("a", "b")) as laid:
        for k in range(clients):
            await laid.client(f"c{k}", "ab"[k % 2], learns(1.0, accuracy=0.5))
        plain = laid.desk
        session = plain.sessions.create(SessionConfig(rounds=rounds, seed=7, validate=validate))["_id"]
        desk, state, _ = guard(plain)
        network = Network(desk.state)
        laid.stack.push_async_callback(network.close)
        leading = asyncio.create_task(Driver(desk, network, term=1, fresh=lambda: True).lead(asyncio.Event()))
        await until(lambda: plain.sessions.get(session)["ended"])
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        assert plain.sessions.get(session)["status"] == "finished"
        return Counter(state.calls)


@pytest.mark.parametrize(("validate", "most"), [(False, 7), (True, 11)], ids=["train", "train and validate"])
@pytest.mark.parametrize("clients", [2, 20])
async def test_a_round_asks_the_state_store_so_often_however_many_clients_it_has(
    tmp_path: Path, clients: int, validate: bool, most: int
) -> None:
    """So it is at most two operations per client from four clients on (six, if the round is validated)."""
    one = await calls(tmp_path / "one", clients, 1, validate=validate)
    many = await calls(tmp_path / "many", clients, 1 + ROUNDS, validate=validate)
    per_round = (many.total() - one.total()) / ROUNDS
    print(f"{clients} clients: {per_round:g} state operations per round, {per_round / clients:g} per client")
    assert per_round <= most, many - one
