"""Transfers over a narrow way: one above the least rate is never cut, one below it is, and soon."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from fedn.errors import TransferStalled
from fedn.wire.admission import Admission
from fedn.wire.blobs import BlobService
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.messages import add_blobs
from fedn.wire.settings import TransferSettings
from fedn.wire.transfer import download, upload
from test.conftest import FolderShelf
from test.middlebox import Middlebox

CHUNK = 128 * 1024
LEAST = 2.0 * CHUNK  # bytes per second: silence is cut after half a second
SETTINGS = TransferSettings(chunk_bytes=CHUNK, ahead_bytes=2 * CHUNK, min_rate_bytes_s=LEAST)
BLOB = random.Random(0).randbytes(4 * CHUNK)
DIGEST = hashlib.sha256(BLOB).hexdigest()


@dataclass
class Ends:
    shelf: FolderShelf
    channel: grpc.aio.Channel
    way: Middlebox


@asynccontextmanager
async def narrow(folder: Path, rate: float) -> AsyncIterator[Ends]:
    """A server, and a channel to it over a narrow way."""
    shelf = FolderShelf(folder)
    folder.mkdir()
    server = new_server(window_bytes=2 * CHUNK)
    service = BlobService(shelf, admission=Admission(1), check=lambda start: None, settings=SETTINGS)
    add_blobs(service, server)
    way = Middlebox(f"127.0.0.1:{await listen(server, '127.0.0.1', 0)}", rate=rate)
    window = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 2 * CHUNK))
    async with dial(way.address, options=window) as channel, asyncio.timeout(20):
        yield Ends(shelf, channel, way)
    way.close()
    await server.stop(None)


async def test_an_upload_just_above_the_rate_is_never_cut(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(BLOB)
    async with narrow(tmp_path / "shelf", 1.3 * LEAST) as ends:
        await upload(ends.channel, tmp_path / "blob", digest=DIGEST, settings=SETTINGS)
    assert ends.shelf.find(DIGEST) is not None


async def test_a_download_just_above_the_rate_is_never_cut(tmp_path: Path) -> None:
    async with narrow(tmp_path / "shelf", 1.3 * LEAST) as ends:
        ends.shelf.put(BLOB)
        await download(ends.channel, digest=DIGEST, size=len(BLOB), destination=tmp_path / "got", settings=SETTINGS)
    assert (tmp_path / "got").read_bytes() == BLOB


async def test_an_upload_below_the_rate_is_cut(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(BLOB)
    async with narrow(tmp_path / "shelf", 0.5 * LEAST) as ends:
        with pytest.raises(TransferStalled):
            await upload(ends.channel, tmp_path / "blob", digest=DIGEST, settings=SETTINGS)
    assert ends.shelf.find(DIGEST) is None


async def test_a_download_below_the_rate_is_cut(tmp_path: Path) -> None:
    async with narrow(tmp_path / "shelf", 0.5 * LEAST) as ends:
        ends.shelf.put(BLOB)
        with pytest.raises(TransferStalled):
            await download(ends.channel, digest=DIGEST, size=len(BLOB), destination=tmp_path / "got", settings=SETTINGS)
    assert not (tmp_path / "got").exists()
