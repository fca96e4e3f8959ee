"""The client's connection to its combiner, as the tasks see it: there, or not there yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from fedn.wire.channel import dial
from fedn.wire.v1 import combiner_pb2 as pb

Events: TypeAlias = "asyncio.Queue[pb.ClientEvent | None]"  # None: no more will come


@dataclass(frozen=True)
class Connection:
    """One attached stream, and where the combiner is."""

    address: str
    channel: grpc.aio.Channel
    events: Events


class Link:
    """Tasks outlive connections: they ask for the present one each time they need it."""

    def __init__(self) -> None:
        self._present: Connection | None = None
        self._up = asyncio.Event()

    def connect(self, connection: Connection) -> None:
        """A stream was welcomed."""
        self._present = connection
        self._up.set()

    def disconnect(self) -> None:
        """The stream has ended."""
        self._present = None
        self._up.clear()

    async def channel(self) -> grpc.aio.Channel:
        """The channel of the present connection; waits for one."""
        return (await self._connected()).channel

    @asynccontextmanager
    async def own_channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel for one large upload, to where the present connection goes; waits for one."""
        async with dial((await self._connected()).address) as channel:
            yield channel

    async def _connected(self) -> Connection:
        while self._present is None:
            await self._up.wait()
        return self._present

    def tell(self, event: pb.ClientEvent) -> None:
        """Send an event that need not survive a lost connection."""
        if self._present is not None:
            self._present.events.put_nowait(event)
