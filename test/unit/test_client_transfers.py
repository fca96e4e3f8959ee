"""A client's transfers against a real combiner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fedn.client.link import Connection, Link
from fedn.client.transfers import Transfers, Upload
from fedn.wire.channel import dial
from fedn.wire.v1 import combiner_pb2 as pb
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
        link.connect(Connection(laid.combiner.address, laid.channel, asyncio.Queue()))
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
        link.connect(Connection(laid.combiner.address, closed, asyncio.Queue()))
        path, digest = laid.write({"w": TENSORS["w"] * 2})
        transfers = Transfers(link, identity="c", min_rate_bytes_s=100_000.0)
        failure = pb.TaskResult(
            client_id="c", task_id="r1.c", round_id="r1", failure=pb.Failure(code="internal", reason="a test")
        )

        def on_the_next() -> bool:
            link.connect(Connection(laid.combiner.address, laid.channel, asyncio.Queue()))
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
        link.connect(Connection(laid.combiner.address, laid.channel, asyncio.Queue()))
        path, digest = laid.write({"w": TENSORS["w"] * 2})
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        result = pb.TaskResult(client_id="c", task_id="r1.c", round_id="r1", update=update)
        transfers = Transfers(link, identity="c", min_rate_bytes_s=35_000)
        await transfers.submit(result, upload=Upload(path, digest), give_up=lambda: False)
        outcome = await laid.outcome()
        assert [(c.status, c.update) for c in outcome.clients] == [("accepted", digest)]
        assert dict(outcome.refused) == {}
