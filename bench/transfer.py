"""Blob transfer on loopback: one stream, and ten clients at once, beside a plain copy of the same bytes.

The server and every client are processes of their own. An upload counts until it is hashed, synced and
in place; a download likewise. The floor reads, hashes, writes and syncs the same file in one process.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import NamedTuple

from bench.command import command
from bench.figure import Figure, of_samples
from fedn.combiner.shelf import Shelf
from fedn.storage.files import FileBlobs
from fedn.wire.admission import Admission
from fedn.wire.blobs import BlobService
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.messages import add_blobs
from fedn.wire.settings import DEFAULTS
from fedn.wire.transfer import download, upload
from fedn.wire.v1.blobs_pb2 import UploadStart

CLIENTS = 10
BLOB_BYTES = 100_000_000
AT_ONCE = 3
REPEATS = 5


class Job(NamedTuple):
    """What a client process is told to do; ``verb`` is up, down or stop."""

    verb: str
    path: Path = Path()
    digest: str = ""
    size: int = 0  # bytes, of a download


def run(*, clients: int = CLIENTS, blob_bytes: int = BLOB_BYTES, repeats: int = REPEATS) -> list[Figure]:
    """Medians in MB/s (10^6 bytes)."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        stored = FileBlobs(folder / "shelf")
        blobs = [_make_blob(folder / f"blob{i}", blob_bytes, seed=i) for i in range(clients)]
        port = _start(context, stack, _serve, folder / "shelf").recv()
        hands = [_start(context, stack, _client, port) for _ in range(clients)]

        def up(count: int) -> float:
            for digest in list(stored.digests()):
                stored.delete(digest)
            return _run(hands[:count], [Job("up", *blob) for blob in blobs[:count]])

        def down(count: int) -> float:
            targets = [folder / f"got{i}" for i in range(count)]
            jobs = [Job("down", to, digest, blob_bytes) for to, (_, digest) in zip(targets, blobs, strict=False)]
            seconds = _run(hands[:count], jobs)
            for target in targets:
                target.unlink()
            return seconds

        def figure(what: str, count: int, measure: Callable[[], float]) -> Figure:
            rates = [count * blob_bytes / 1e6 / measure() for _ in range(repeats)]
            return of_samples(what, rates, "MB/s", note=f"{min(rates):.0f} to {max(rates):.0f}")

        figures = [
            figure("copy + sha256 + fsync, no network", 1, lambda: _floor(blobs[0], folder / "copy")),
            figure("one client up", 1, lambda: up(1)),
            figure("one client down", 1, lambda: down(1)),
            figure(f"{clients} clients up, {AT_ONCE} at once", clients, lambda: up(clients)),
            figure(f"{clients} clients down, {AT_ONCE} at once", clients, lambda: down(clients)),
        ]
        for hand in hands:
            hand.send(Job("stop"))
        return figures


def _make_blob(path: Path, size: int, *, seed: int) -> tuple[Path, str]:
    data = (hashlib.shake_128(bytes([seed])).digest(1_000_000) * -(-size // 1_000_000))[:size]
    path.write_bytes(data)
    _sync(path)
    return path, hashlib.sha256(data).hexdigest()


def _floor(blob: tuple[Path, str], target: Path) -> float:
    began = time.perf_counter()
    known = hashlib.sha256()
    with blob[0].open("rb", buffering=0) as source, target.open("wb", buffering=0) as copy:
        while data := source.read(DEFAULTS.chunk_bytes):
            known.update(data)
            copy.write(data)
        os.fsync(copy.fileno())
    assert known.hexdigest() == blob[1]
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def _run(clients: list[Connection], jobs: list[Job]) -> float:
    began = time.perf_counter()
    for client, job in zip(clients, jobs, strict=True):
        client.send(job)
    for client in clients:
        client.recv()
    return time.perf_counter() - began


def _start(context: SpawnContext, stack: ExitStack, role: Callable[..., None], argument: Path | int) -> Connection:
    ours, theirs = context.Pipe()
    process = context.Process(target=role, args=(theirs, argument), daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.terminate)
    return ours


def _serve(parent: Connection, folder: Path) -> None:
    async def serve() -> None:
        service = BlobService(Shelf(folder), admission=Admission(AT_ONCE), check=_allow, settings=DEFAULTS)
        server = new_server()
        add_blobs(service, server)
        parent.send(await listen(server, "127.0.0.1", 0))
        await server.wait_for_termination()

    asyncio.run(serve())


def _allow(start: UploadStart) -> None:
    """Every upload is welcome."""


def _client(parent: Connection, port: int) -> None:
    async def work() -> None:
        async with dial(f"127.0.0.1:{port}") as channel:
            while (job := await asyncio.to_thread(parent.recv)).verb != "stop":
                if job.verb == "up":
                    await upload(channel, job.path, digest=job.digest)
                else:
                    await download(channel, digest=job.digest, size=job.size, destination=job.path)
                parent.send("done")

    asyncio.run(work())


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


if __name__ == "__main__":
    command(run)()
