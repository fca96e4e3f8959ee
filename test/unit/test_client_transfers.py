"""A client's transfers against a real combiner."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.client.link import Link
from fedn.client.transfers import Transfers, Upload
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc
from test.unit.combiner_bench import table

TENSORS = {"w": np.ones(100_000, np.float32)}


async def test_an_upload_waits_for_a_connection(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(TENSORS)
        await laid.hand("c").attach()
        await laid.start("c")
        await laid.hand("c").task()
        link = Link()
        path, digest = laid.write({"w": TENSORS["w"] * 2})
        transfers = Transfers(link, identity="c", min_rate_bytes_s=35_000)
        uploading = asyncio.create_task(transfers.upload(path, digest, "r1", give_up=lambda: True))
        await asyncio.sleep(0)
        assert not uploading.done()
        link.connect(laid.channel)
        await uploading
        assert laid.combiner.shelf.find(digest) is not None


@pytest.mark.parametrize("what", ["fetch", "upload", "submit"])
async def test_a_channel_that_is_closed_when_it_is_used_is_a_lost_connection(tmp_path: Path, what: str) -> None:
    """The agent closes it as its stream ends, and what was about to use it goes on over the next one (I9)."""
    async with table(tmp_path) as laid:
        await laid.stage(TENSORS)
        await laid.hand("c").attach()
        await laid.start("c")
        await laid.hand("c").task()
        link, closed = Link(), dial(laid.combiner.address)
        await closed.close()
        link.connect(closed)
        path, digest = laid.write({"w": TENSORS["w"] * 2})
        transfers = Transfers(link, identity="c", min_rate_bytes_s=100_000.0)
        failure = pb.TaskResult(
            client_id="c", task_id="r1.c", round_id="r1", failure=pb.Failure(code="internal", reason="a test")
        )

        def on_the_next() -> bool:
            link.connect(laid.channel)
            return False

        match what:
            case "fetch":
                await transfers.fetch(laid.model, laid.model_size, tmp_path / "fetched", give_up=on_the_next)
                assert (tmp_path / "fetched").stat().st_size == laid.model_size
            case "upload":
                await transfers.upload(path, digest, "r1", give_up=on_the_next)
                assert laid.combiner.shelf.find(digest) is not None
            case "submit":
                await transfers.submit(failure, give_up=on_the_next)
                assert [c.reason for c in (await laid.outcome()).clients] == ["a test"]


async def test_a_result_whose_upload_is_missing_uploads_it_again(tmp_path: Path) -> None:
    """The client has moved to this combiner after it had uploaded to another (I1)."""
    async with table(tmp_path) as laid:
        await laid.stage(TENSORS)
        await laid.hand("c").attach()
        await laid.start("c")
        await laid.hand("c").task()
        link = Link()
        link.connect(laid.channel)
        path, digest = laid.write({"w": TENSORS["w"] * 2})
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        result = pb.TaskResult(client_id="c", task_id="r1.c", round_id="r1", update=update)
        transfers = Transfers(link, identity="c", min_rate_bytes_s=35_000)
        await transfers.submit(result, upload=Upload(path, digest), give_up=lambda: False)
        outcome = await laid.outcome()
        assert [(c.status, c.update) for c in outcome.clients] == [("accepted", digest)]
        assert dict(outcome.refused) == {}


class Waits(combiner_pb2_grpc.CombinerServicer):
    """Takes every result, and notes how long its client would have waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.CombinerCommand]:  # noqa: N802
        raise AssertionError("nobody attaches here")

    async def Submit(self, request: pb.TaskResult, context: Any) -> pb.Receipt:  # noqa: N802
        self.seconds.append(context.time_remaining())
        return pb.Receipt(accepted=True)


async def test_a_client_waits_longer_for_the_receipt_of_a_larger_update(tmp_path: Path) -> None:
    """The combiner reads it through first: five gigabytes from a slow disk take more than a minute."""
    server, waits, link, large = new_server(), Waits(), Link(), tmp_path / "update"
    combiner_pb2_grpc.add_CombinerServicer_to_server(waits, server)
    address = f"127.0.0.1:{await listen(server, '127.0.0.1', 0)}"
    large.touch()
    os.truncate(large, 5_000_000_000)  # it takes no room
    try:
        async with dial(address) as channel:
            link.connect(channel)
            transfers = Transfers(link, identity="c", min_rate_bytes_s=35_000)
            for upload in (None, Upload(large, "0" * 64)):
                assert await transfers.submit(pb.TaskResult(), upload=upload, give_up=lambda: True)
    finally:
        await server.stop(None)
    assert waits.seconds[0] <= 60 < 5_000_000_000 / 20e6 < waits.seconds[1]
