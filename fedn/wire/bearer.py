"""A channel whose every call shows a token.

Interceptors could do it too, but grpc.aio then puts calls of another kind, with endings of their own, in the place of
those whose behaviour the transfers rely on.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
import grpc.aio


class BearerChannel(grpc.aio.Channel):
    """The calls of a channel, with ``authorization: Bearer <token>`` in their metadata."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)

    def unary_unary(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return partial(self._channel.unary_unary(*args, **more), metadata=self._metadata)

    def unary_stream(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return partial(self._channel.unary_stream(*args, **more), metadata=self._metadata)

    def stream_unary(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return partial(self._channel.stream_unary(*args, **more), metadata=self._metadata)

    def stream_stream(self, *args: Any, **more: Any) -> Any:
        """See grpc.aio."""
        return partial(self._channel.stream_stream(*args, **more), metadata=self._metadata)

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
