"""What a client is told is what is recorded (I1): another result of it cannot come between."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.combiner.journal import Journal
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import table


@pytest.mark.parametrize("second", ["a failure", "an update of another base"])
async def test_an_update_that_is_being_written_ahead_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    entered, go, accept = threading.Event(), threading.Event(), Journal.accept

    def slowly(self: Journal, *row: Any) -> None:
        entered.set()
        assert go.wait(30)
        accept(self, *row)

    monkeypatch.setattr(Journal, "accept", slowly)
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.zeros(4, np.float32)})
        hand = laid.hand("a")
        await hand.attach()
        await laid.start("a")
        await hand.task()
        path, digest = laid.write({"w": np.ones(4, np.float32)})
        await hand.send(path, digest, "r1")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=3)
        first = asyncio.create_task(hand.submit("r1", update=update))
        assert await asyncio.to_thread(entered.wait, 30)
        late: dict[str, Any] = {"failure": pb.Failure(code="entry_point_failed", reason="a second life")}
        if second != "a failure":
            late = {"update": pb.Update(model=digest, base_model="0" * 64, num_examples=3)}
        other = asyncio.create_task(hand.submit("r1", **late))
        await asyncio.wait([other], timeout=0.2)
        go.set()
        assert (await first).accepted
        await other
        outcome = await laid.outcome()
    assert [(client.status, client.update) for client in outcome.clients] == [("accepted", digest)]
    assert outcome.weight == 3
