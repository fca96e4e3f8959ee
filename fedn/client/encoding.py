"""A client's end of docs/encoding.md: scripts read and write float32, whatever travels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fedn.client.cache import Cache
from fedn.client.executor import Fetch
from fedn.client.outputs import open_output
from fedn.model.narrow import convert, narrowed, widened
from fedn.model.safetensors import digest_of, open_model
from fedn.wire.encodings import Encoding
from fedn.wire.v1 import combiner_pb2 as pb


def encoding_of(command: pb.RunTask) -> Encoding:
    """The session's encoding."""
    return Encoding.of(command.encodings)


@asynccontextmanager
async def round_model(cache: Cache, command: pb.RunTask, fetch: Fetch) -> AsyncIterator[Path]:
    """The model to give to the script: as it came, or widened to float32, once for all clients of the process."""
    if not command.wire_model:
        async with cache.model(command.model, lambda path: fetch(command.model, command.model_size, path)) as model:
            yield model
        return

    async def fetch_and_widen(path: Path) -> None:
        await fetch(command.wire_model, command.wire_model_size, path)
        if not (wide := cache.widened(path)).exists():
            await asyncio.to_thread(widen, path, wide, command)

    async with cache.model(command.wire_model, fetch_and_widen) as model:
        yield cache.widened(model)


def widen(path: Path, wide: Path, command: pb.RunTask) -> None:
    """Write the model that travelled in a narrower float type with float32, where the global model has that; exact."""
    model = open_model(path)
    convert(model, widened(model.schema, encoding_of(command).dtype, command.native), wide, synced=False)


def for_the_wire(out: Path, command: pb.RunTask) -> tuple[Path, str]:
    """What is sent of the model that train wrote, and its digest: as it is, or in its place one in the session's type.

    Raises OutputInvalid, BeyondWireDtype.
    """
    model, dtype = open_output(out), encoding_of(command).dtype
    if dtype == "F32":
        return out, digest_of(out)
    update = out.with_name("update")
    digest = convert(model, narrowed(model.schema, dtype), update, synced=False)
    out.unlink()
    return update, digest
