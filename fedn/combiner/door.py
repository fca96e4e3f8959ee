"""The combiner's door: every call shows a token, and what is not listed here is for admins.

A refusal says nothing of what is behind the door: a method that does not exist is refused like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from fedn.errors import FednError, PermissionDenied, Unauthenticated
from fedn.security.caller import ADMINS, ANYONE, Role
from fedn.security.tokens import Tokens, bearer
from fedn.wire.status import Context, abort

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# service → who may call its methods
WHO = {"fedn.v1.Combiner": ANYONE, "fedn.v1.Blobs": ANYONE, "fedn.v1.Control": ADMINS}


class Door(grpc.aio.ServerInterceptor):
    """Lets a call through, or answers it with the refusal."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.aio."""
        try:
            self._check(handler_call_details)
        except FednError as error:
            return refusal(error)
        return await continuation(handler_call_details)

    def _check(self, call: grpc.HandlerCallDetails) -> None:
        shown = [value for key, value in call.invocation_metadata or () if key == "authorization"]
        if not shown:
            raise Unauthenticated("the combiner asks for a token, and none came")
        token = bearer(shown[0]) if len(shown) == 1 and isinstance(shown[0], str) else None
        caller = self._tokens.caller(token) if token is not None else None
        if caller is None:
            raise Unauthenticated("the combiner does not know this token")
        if caller.role not in allowed(call.method):
            raise PermissionDenied("the combiner takes this call only with the admin token")


def allowed(method: str) -> frozenset[Role]:
    """Who may call a method, such as `/fedn.v1.Control/Report`."""
    service, _, _ = method.removeprefix("/").partition("/")
    return WHO.get(service, ADMINS)


def refusal(error: FednError) -> Handler:
    """A handler that reads nothing, whatever the caller would send, and ends the call with the error."""

    async def refuse(_: AsyncIterator[Any], context: Context) -> None:
        await abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)
