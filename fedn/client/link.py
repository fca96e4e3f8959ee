"""The client's connection to its combiner, as the tasks see it: there, or not there yet."""

from __future__ import annotations

import asyncio

import grpc


class Link:
    """Tasks outlive connections: they ask for the present one each time they need it."""

    def __init__(self) -> None:
        self._present: grpc.aio.Channel | None = None
        self._up = asyncio.Event()

    def connect(self, channel: grpc.aio.Channel) -> None:
        """A stream was welcomed."""
        self._present = channel
        self._up.set()

    def disconnect(self) -> None:
        """The stream has ended."""
        self._present = None
        self._up.clear()

    async def channel(self) -> grpc.aio.Channel:
        """The channel of the present connection; waits for one."""
        while self._present is None:
            await self._up.wait()
        return self._present
