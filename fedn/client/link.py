"""The client's connection to its combiner, as the tasks see it: there, or not there yet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

import grpc

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
        while self._present is None:
            await self._up.wait()
        return self._present.channel

    def tell(self, event: pb.ClientEvent) -> None:
        """Send an event that need not survive a lost connection."""
        if self._present is not None:
            self._present.events.put_nowait(event)
