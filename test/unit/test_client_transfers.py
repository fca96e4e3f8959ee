"""A client's transfers against a real combiner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import numpy as np
import pytest

from fedn.client.link import Connection, Link
from fedn.client.transfers import OWN_CHANNEL_BYTES, Transfers
from test.unit.combiner_bench import table

SMALL = {"w": np.ones(8, np.float32)}
LARGE = {"w": np.ones(OWN_CHANNEL_BYTES // 4, np.float32)}  # with its header it is above the limit


class WatchedLink(Link):
    """Counts the channels that were made for one upload."""

    def __init__(self) -> None:
        super().__init__()
        self.own = 0

    @asynccontextmanager
    async def own_channel(self) -> AsyncIterator[grpc.aio.Channel]:
        self.own += 1
        async with super().own_channel() as channel:
            yield channel


@pytest.mark.parametrize(("tensors", "channels"), [(SMALL, 0), (LARGE, 1)], ids=["small", "large"])
async def test_only_a_large_update_has_a_connection_of_its_own(
    tensors: dict[str, np.ndarray], channels: int, tmp_path: Path
) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(tensors)
        await laid.hand("c").attach()
        await laid.start("c")
        await laid.hand("c").task()
        link = WatchedLink()
        link.connect(Connection(laid.combiner.address, laid.channel, asyncio.Queue()))
        path, digest = laid.write({"w": tensors["w"] * 2})
        transfers = Transfers(link, identity="c", stall_timeout_s=10)
        await transfers.upload(path, digest, "r1", give_up=lambda: True)
        assert laid.combiner.shelf.find(digest) is not None
        assert link.own == channels


async def test_a_large_upload_waits_for_a_connection(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage(LARGE)
        await laid.hand("c").attach()
        await laid.start("c")
        await laid.hand("c").task()
        link = Link()
        path, digest = laid.write({"w": LARGE["w"] * 2})
        transfers = Transfers(link, identity="c", stall_timeout_s=10)
        uploading = asyncio.create_task(transfers.upload(path, digest, "r1", give_up=lambda: True))
        await asyncio.sleep(0)
        assert not uploading.done()
        link.connect(Connection(laid.combiner.address, laid.channel, asyncio.Queue()))
        await uploading
        assert laid.combiner.shelf.find(digest) is not None
