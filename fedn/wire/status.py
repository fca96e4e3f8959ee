"""FEDn's errors on the wire: a gRPC status, and trailing metadata that names the class.

``fedn-code`` holds the code, ``fedn-reason-bin`` the reason in UTF-8.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio

from fedn import errors
from fedn.errors import FednError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Servicer = TypeVar("Servicer")
Request = TypeVar("Request")
Reply = TypeVar("Reply")

_CODE = "fedn-code"
_REASON = "fedn-reason-bin"
# gRPC refuses metadata above 8 KiB, and a reason may quote a whole stderr
_REASON_BYTES = 2048
_DETAILS_BYTES = 256

# what a channel says when the other process is not there, has died or is stopping
_GONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
# what grpc.aio itself says, as INTERNAL, of a write that could not be sent
_LOST_WRITE = "Internal error from Core"


async def abort(context: Context, error: FednError) -> NoReturn:
    """End the call with ``error``; a reason above 2 KiB is cut."""
    reason = _cut(error.reason, _REASON_BYTES)
    metadata = ((_CODE, error.code), (_REASON, reason.encode()))
    await context.abort(grpc.StatusCode[error.grpc], _cut(reason, _DETAILS_BYTES), metadata)
    raise AssertionError("abort has returned")


def answers_errors(
    method: Callable[[Servicer, Request, Context], Coroutine[Any, Any, Reply]],
) -> Callable[[Servicer, Request, Context], Coroutine[Any, Any, Reply]]:
    """For servicer methods that are coroutines, unary or writing: a FednError becomes the call's status."""

    @functools.wraps(method)
    async def answering(self: Servicer, request: Request, context: Context) -> Reply:
        try:
            with gone_is_cancelled():
                return await method(self, request, context)
        except FednError as error:
            await abort(context, error)

    return answering


def streams_errors(
    method: Callable[[Servicer, Request, Context], AsyncGenerator[Reply, None]],
) -> Callable[[Servicer, Request, Context], AsyncGenerator[Reply, None]]:
    """For servicer methods that are generators: a FednError becomes the call's status."""

    @functools.wraps(method)
    async def streaming(self: Servicer, request: Request, context: Context) -> AsyncGenerator[Reply, None]:
        try:
            with gone_is_cancelled():
                async with aclosing(method(self, request, context)) as replies:
                    async for reply in replies:
                        yield reply
        except FednError as error:
            await abort(context, error)

    return streaming


@contextmanager
def gone_is_cancelled() -> Iterator[None]:
    """A write that fails because the other end has just died: gRPC would log it as an error of ours."""
    try:
        yield
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


def from_rpc(error: grpc.aio.AioRpcError, *, unreachable: type[FednError]) -> FednError:
    """The error that the other end named; ``unreachable`` when it named none and is not there."""
    metadata = error.trailing_metadata()
    code = metadata.get(_CODE) if metadata else None
    if metadata and code is not None:
        reason = metadata.get(_REASON, b"")
        return errors.from_code(_text(code), _text(reason))
    details = error.details() or error.code().name
    if error.code() in _GONE or details == _LOST_WRITE:
        return unreachable(details)
    return FednError(f"{error.code().name}: {details}")


def _cut(text: str, size: int) -> str:
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


@asynccontextmanager
async def rpc_errors(*, unreachable: type[FednError]) -> AsyncIterator[None]:
    """Around calls: what fails inside leaves as a class of fedn.errors."""
    try:
        with closed_is(unreachable):
            yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error, unreachable=unreachable) from error


@contextmanager
def closed_is(unreachable: type[FednError]) -> Iterator[None]:
    """Around calls on a channel that its owner may close at any moment: it counts as ``unreachable``.

    grpc.aio tells it as a UsageError, or cancels who waits for the call as if that task had been told to end.
    """
    try:
        yield
    except grpc.aio.UsageError as error:
        raise unreachable(f"the connection was lost: {error}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise unreachable("the connection was closed") from error
