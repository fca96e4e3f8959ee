"""Streaming calls whose true ending is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio

from fedn.errors import FednError
from fedn.wire.status import closed_is, from_rpc

T = TypeVar("T")
AnyCall = TypeVar("AnyCall", bound=grpc.aio.Call)


@asynccontextmanager
async def calling(
    call: AnyCall, *, unreachable: type[FednError], ended: str = "the other end has ended the call"
) -> AsyncIterator[AnyCall]:
    """Around a streaming call: cancelled on leaving, and what fails inside leaves as a class of fedn.errors.

    grpc.aio replaces the status that the server sent by INTERNAL when a write fails because the server
    has ended the call (grpc/grpc issue 36066). Here the server's own is kept, if what it said before was
    read; otherwise it counts as ``unreachable``, as does a call that it ended without an error too early,
    for the reason ``ended``.
    """
    endings: list[grpc.aio.AioRpcError] = []
    call.add_done_callback(lambda ended: endings.append(_status(ended)))
    try:
        with closed_is(unreachable):
            yield call
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        ending = endings[0] if endings else error
        if not isinstance(ending, grpc.aio.AioRpcError):
            raise
        if ending.code() is grpc.StatusCode.OK:
            raise unreachable(ended) from error
        raise from_rpc(ending, unreachable=unreachable) from error
    finally:
        call.cancel()


async def begin(call: grpc.aio.StreamStreamCall[Any, Any], message: object) -> None:
    """Write a call's first message, inside `calling`.

    grpc.aio's own `write` waits for ever when the call ends before its metadata has left, as it does when the channel
    is closed at that moment.
    """
    over = asyncio.Event()
    call.add_done_callback(lambda _: over.set())
    writing, ending = asyncio.ensure_future(call.write(message)), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait([writing, ending], return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            raise asyncio.InvalidStateError("the call has ended before it began")
        await writing
    finally:
        writing.cancel()
        ending.cancel()


def _status(call: Any) -> grpc.aio.AioRpcError:
    """The status of a call that has ended, without waiting: the next event may overwrite it."""
    code = _at_once(call.code()) or grpc.StatusCode.UNKNOWN
    nothing = grpc.aio.Metadata()
    metadata = _at_once(call.trailing_metadata()) or nothing
    return grpc.aio.AioRpcError(code, nothing, metadata, _at_once(call.details()))


def _at_once(known: Coroutine[Any, Any, T]) -> T | None:
    try:
        known.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    known.close()
    return None
