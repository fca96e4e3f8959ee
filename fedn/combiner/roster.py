"""Who is attached, and the commands on their way to each client.

A client has one *seat* for as long as this process lives, and at most one *stream*. A new stream supersedes
the old one; a task that has no answer yet is sent again on it, so nothing depends on which stream was alive
when the command was given. The client recognises a task that it has already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fedn.combiner.pulse import Pulse
from fedn.wire.v1 import combiner_pb2 as pb


class Stream:
    """The live connection of one client: a queue of commands that its Attach call sends."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[pb.CombinerCommand | None] = asyncio.Queue()
        self.superseded = False

    def send(self, command: pb.CombinerCommand) -> None:
        """Queue a command."""
        self._queue.put_nowait(command)

    def close(self) -> None:
        """End the Attach call once what is queued was sent."""
        self._queue.put_nowait(None)

    async def commands(self) -> AsyncIterator[pb.CombinerCommand]:
        """The commands, until the stream is closed."""
        while (command := await self._queue.get()) is not None:
            yield command


@dataclass
class Seat:
    """One client as this combiner knows it."""

    client_id: str
    hello: pb.Hello
    stream: Stream | None = None
    gone_at: float | None = None
    task: pb.RunTask | None = None

    @property
    def attached(self) -> bool:
        """True while a stream is alive."""
        return self.stream is not None


class Roster:
    """All seats. `changed` beats when a client comes or goes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._born = clock()
        self._seats: dict[str, Seat] = {}
        self._count = 0  # of those that are attached
        self.changed = Pulse()

    def attached(self) -> list[Seat]:
        """The seats with a live stream, by client id."""
        return [self._seats[c] for c in sorted(self._seats) if self._seats[c].attached]

    def has_place(self, client_id: str, places: int) -> bool:
        """Whether the client may attach where there are so many places; one that is attached takes no other."""
        seat = self._seats.get(client_id)
        return self._count < places or (seat is not None and seat.attached)

    def attach(self, hello: pb.Hello) -> tuple[Seat, Stream]:
        """Give the client a stream; its former one ends."""
        seat = self._seats.setdefault(hello.client_id, Seat(hello.client_id, hello))
        if seat.stream is None:
            self._count += 1
        else:
            seat.stream.superseded = True
            seat.stream.close()
        seat.hello, seat.stream, seat.gone_at = hello, Stream(), None
        self.changed.beat()
        return seat, seat.stream

    def detach(self, seat: Seat, stream: Stream) -> None:
        """The stream ended; unless another has taken its place, the client is gone."""
        if seat.stream is stream:
            seat.stream, seat.gone_at = None, self._clock()
            self._count -= 1
            self.changed.beat()

    def gone_since(self, client_id: str) -> float | None:
        """When the client went away, on this roster's clock; None while it is attached."""
        seat = self._seats.get(client_id)
        if seat is None:
            return self._born
        return None if seat.attached else seat.gone_at

    def give(self, client_id: str, task: pb.RunTask) -> None:
        """The client's present task; sent now if it is attached, else when it comes."""
        seat = self._seats.get(client_id)
        if seat is not None:
            seat.task = task
            if seat.stream is not None:
                seat.stream.send(pb.CombinerCommand(run=task))

    def forget_task(self, client_id: str, task_id: str) -> None:
        """The task has ended; do not send it again."""
        seat = self._seats.get(client_id)
        if seat is not None and seat.task is not None and seat.task.task_id == task_id:
            seat.task = None

    def cancel(self, client_id: str, task_id: str, reason: str) -> None:
        """Tell the client to stop working on a task."""
        self.forget_task(client_id, task_id)
        self.tell(client_id, pb.CombinerCommand(cancel=pb.CancelTask(task_id=task_id, reason=reason)))

    def send_away(self, reason: str) -> None:
        """Tell every attached client to ask discovery for another combiner."""
        self.tell_all(pb.CombinerCommand(drain=pb.Drain(reason=reason)))

    def tell_all(self, command: pb.CombinerCommand) -> None:
        """Send a command to all who are attached."""
        for seat in self.attached():
            self.tell(seat.client_id, command)

    def tell(self, client_id: str, command: pb.CombinerCommand) -> None:
        """Send a command that need not survive a lost connection."""
        seat = self._seats.get(client_id)
        if seat is not None and seat.stream is not None:
            seat.stream.send(command)
