"""Who leads, as a combiner remembers it: a leader that was replaced is refused, at any moment (I1)."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fedn.combiner.journal import Journal
from fedn.combiner.rounds import Rounds
from fedn.errors import StaleTerm, Unavailable
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import control_pb2 as control
from test.unit.combiner_bench import arrive, table, until


async def test_a_combiner_remembers_a_newer_leader_of_a_round_that_it_knows(tmp_path: Path) -> None:
    """Fencing, also over a restart: else a former leader could end the round, and with it accepted updates (I1)."""
    async with table(tmp_path) as laid:
        (one,) = await arrive(laid, "one")
        await laid.start("one", term=1)
        await one.task()
        await laid.start("one", term=2)
        await asyncio.wait_for(laid.control.Report(control.ReportRequest()), 5)
    async with table(tmp_path) as laid:
        with pytest.raises(StaleTerm):
            async with rpc_errors(unreachable=Unavailable):
                await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=False))


async def test_a_leader_that_is_overtaken_while_its_term_is_noted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fencing: the call of a leader that was new when it came must not be carried out after that of a newer one."""
    held, keep = threading.Event(), Journal.keep_term

    def slowly(journal: Journal, term: int) -> None:
        if term == 2:
            assert held.wait(20)
        keep(journal, term)

    monkeypatch.setattr(Journal, "keep_term", slowly)
    obeyed: list[int] = []

    async def call(rounds: Rounds, term: int) -> None:
        await rounds.fence(term)
        obeyed.append(term)

    async with table(tmp_path) as laid:
        calls = [asyncio.create_task(call(laid.combiner.rounds, term)) for term in (2, 3)]
        await asyncio.wait(calls, timeout=0.2)  # the newer may overtake, or wait
        held.set()
        await asyncio.gather(*calls, return_exceptions=True)
    assert obeyed in ([2, 3], [3])


async def test_a_term_that_is_being_noted_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fencing: an EndRound of the former leader would forget what was accepted."""
    held, keep, reached = threading.Event(), Journal.keep_term, threading.Event()

    def slowly(journal: Journal, term: int) -> None:
        reached.set()
        assert held.wait(20)
        keep(journal, term)

    async with table(tmp_path) as laid:
        rounds = laid.combiner.rounds
        await rounds.fence(1)
        monkeypatch.setattr(Journal, "keep_term", slowly)
        newer = asyncio.create_task(rounds.fence(2))
        try:
            await until(reached.is_set)
            former = asyncio.create_task(rounds.fence(1))
            await asyncio.sleep(0.05)  # it may be refused at once, or wait for the newer one
        finally:
            held.set()
            await newer
        with pytest.raises(StaleTerm):
            await former
