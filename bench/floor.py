"""What the bytes of a round cost without FEDn: each client takes a blob and gives one back, over bare grpc.aio streams.

Server and clients are processes of their own on loopback; chunks of 2 MiB, no protobuf message around them. `checked`:
each end hashes (sha256) and writes to a file what it receives, in threads beside the event loop, neither read again nor
synced. `at_once`: how many clients move bytes at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fedn.wire.channel import dial, listen, new_server

CHUNK = 2 * 1024 * 1024
WINDOW = 8 * CHUNK
DOWN, UP = "/floor/Down", "/floor/Up"
LIMITS = (("grpc.http2.lookahead_bytes", WINDOW),)


def seconds(*, clients: int, size: int, rounds: int, at_once: int, checked: bool) -> list[float]:
    """Wall time of each of `rounds`: `size` bytes down to every client, and up again."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="fedn-floor-") as name, ExitStack() as stack:

        def begin(number: int, *arguments: Any) -> Connection:
            ours, theirs = context.Pipe()
            role = _serve if number < 0 else _client
            process = context.Process(target=role, args=(theirs, Path(name), number, size, checked, *arguments))
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            return ours

        port = begin(-1, at_once).recv()
        hands = [begin(number, port) for number in range(clients)]
        for hand in hands:
            hand.recv()
        return [_round(hands) for _ in range(rounds)]


def _round(hands: list[Connection]) -> float:
    began = time.perf_counter()
    for step in ("down", "up"):
        for hand in hands:
            hand.send(step)
        for hand in hands:
            hand.recv()
    return time.perf_counter() - began


class _Sink:
    """Hashes and writes the chunks one after another in a thread, while the next one comes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._last: asyncio.Future[None] | None = None

    async def add(self, data: bytes) -> None:
        before = self._last
        self._last = asyncio.get_running_loop().run_in_executor(None, self._put, data)
        if before is not None:
            await before

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)

    async def close(self) -> None:
        if self._last is not None:
            await self._last
        self._file.close()


async def _take(chunks: AsyncIterator[bytes], path: Path, *, checked: bool) -> None:
    if not checked:
        async for _ in chunks:
            pass
        return
    sink = _Sink(path)
    async for data in chunks:
        await sink.add(data)
    await sink.close()


def _chunks(size: int) -> list[bytes]:
    chunk = bytes(range(256)) * (CHUNK // 256)
    return [chunk] * (size // CHUNK) + [chunk[: size % CHUNK]]


def _serve(parent: Connection, folder: Path, _: int, size: int, checked: bool, at_once: int) -> None:
    async def serve() -> None:
        admission, model = asyncio.Semaphore(at_once), _chunks(size)

        async def down(_: bytes, context: Any) -> None:
            async with admission:
                for data in model:
                    await context.write(data)

        async def up(requests: AsyncIterator[bytes], context: Any) -> None:
            async with admission:
                await context.write(b"go on")
                await _take(requests, folder / f"at-server-{id(context)}", checked=checked)
                for path in folder.glob(f"at-server-{id(context)}"):
                    path.unlink()
            await context.write(b"done")

        server = new_server(options=LIMITS)
        handlers: dict[str, Any] = {
            "Down": grpc.unary_stream_rpc_method_handler(down),
            "Up": grpc.stream_stream_rpc_method_handler(up),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", handlers),))
        parent.send(await listen(server, "127.0.0.1", 0))
        await server.wait_for_termination()

    asyncio.run(serve())


def _client(parent: Connection, folder: Path, number: int, size: int, checked: bool, port: int) -> None:
    async def work() -> None:
        update, target = _chunks(size), folder / f"at-client-{number}"
        channel: Any
        async with dial(f"127.0.0.1:{port}", options=LIMITS) as channel:
            await channel.channel_ready()
            parent.send("ready")
            while True:
                if await asyncio.to_thread(parent.recv) == "down":
                    await _take(channel.unary_stream(DOWN)(b""), target, checked=checked)
                else:
                    call = channel.stream_stream(UP)()
                    await call.read()
                    for data in update:
                        await call.write(data)
                    await call.done_writing()
                    await call.read()
                parent.send("done")

    asyncio.run(work())
