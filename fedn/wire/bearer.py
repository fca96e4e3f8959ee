"""A channel whose every call shows a token.

Interceptors could do it too, but grpc.aio then puts calls of another kind, with endings of their own, in the place of
those whose behaviour the transfers rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

Token: TypeAlias = str | Callable[[], str]  # a token, or what gives the one of now


class BearerChannel(grpc.aio.Channel):
    """The calls of a channel, with ``authorization: Bearer <token>`` in their metadata."""

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        self._channel = channel
        self._token = token

    def _shown(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            return make(*args, metadata=(("authorization", authorization(self._token)),), **more)

        return call

    def unary_unary(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return self._shown(self._channel.unary_unary(*args, **more))

    def unary_stream(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return self._shown(self._channel.unary_stream(*args, **more))

    def stream_unary(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return self._shown(self._channel.stream_unary(*args, **more))

    def stream_stream(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return self._shown(self._channel.stream_stream(*args, **more))

    async def __aenter__(self) -> BearerChannel:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._channel.__aexit__(*failure)

    async def close(self, grace: float | None = None) -> None:
        """See grpc.aio."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio."""
        await self._channel.channel_ready()


def authorization(token: Token) -> str:
    """The word of the metadata, or of the header, that shows the token."""
    return f"Bearer {token if isinstance(token, str) else token()}"
