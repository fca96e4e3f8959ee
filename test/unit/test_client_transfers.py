"""A client's transfers against a real combiner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from fedn.client.link import Connection, Link
from fedn.client.transfers import Transfers
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
