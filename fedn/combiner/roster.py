"""Who is attached, and the commands on their way to each client.

A client has one *seat* for as long as this process lives, and at most one *stream*. A new stream supersedes
the old one; a task that has no answer yet is sent again on it, so nothing depends on which stream was alive
when the command was given. The client recognises a task that it has already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from sys import intern

from fedn.combiner.pulse import Pulse
from fedn.combiner.stream import Stream
from fedn.wire.encodings import KNOWN
from fedn.wire.v1 import combiner_pb2 as pb


@dataclass(slots=True)
class Seat:
    """One client as this combiner knows it: what it said in its hello, which as a message would take much more room."""

    client_id: str
    name: str = ""
    part: int = 0
    cpus: int = 0
    memory_bytes: int = 0
    version: str = ""
    encodings: tuple[str, ...] = ()
    stream: Stream | None = None
    gone_at: float | None = None
    task: pb.RunTask | None = None
    has: str = ""  # the model that was in a message to it last

    def introduce(self, hello: pb.Hello) -> None:
        """Take down what the client says of itself."""
        profile = hello.profile
        self.name, self.part = hello.name, hello.part
        self.cpus, self.memory_bytes, self.version = profile.cpus, profile.memory_bytes, intern(profile.version)
        self.encodings = tuple(known for known in KNOWN if known in hello.encodings)

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
        self.count = 0  # of those that are attached
        self.changes = 0  # times that one came or went
        self.changed = Pulse()

    def attached(self) -> list[Seat]:
        """The seats with a live stream, by client id."""
        return [self._seats[c] for c in sorted(self._seats) if self._seats[c].attached]

    def has_place(self, client_id: str, places: int) -> bool:
        """Whether the client may attach where there are so many places; one that is attached takes no other."""
        seat = self._seats.get(client_id)
        return self.count < places or (seat is not None and seat.attached)

    def seats(self) -> Iterable[Seat]:
        """All seats, in no order; some of them may be empty."""
        return self._seats.values()

    def attach(self, hello: pb.Hello, stream: Stream) -> Seat:
        """The client's stream is this one now; its former one ends."""
        seat = self._seats.setdefault(hello.client_id, Seat(hello.client_id))
        if seat.stream is None:
            self.count += 1
        else:
            seat.stream.superseded = True
            seat.stream.close()
        seat.introduce(hello)
        seat.stream, seat.gone_at = stream, None
        self._change()
        return seat

    def detach(self, seat: Seat, stream: Stream) -> None:
        """The stream ended; unless another has taken its place, the client is gone."""
        if seat.stream is stream:
            seat.stream, seat.gone_at = None, self._clock()
            self.count -= 1
            self._change()

    def _change(self) -> None:
        self.changes += 1
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
                model = task.wire_model or task.model
                if seat.has == model:  # it fetches the model if that message was lost
                    task.ClearField("content")
                elif task.content:
                    seat.has = intern(model)
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
        for seat in self._seats.values():
            if seat.stream is not None:
                seat.stream.send(command)

    def tell(self, client_id: str, command: pb.CombinerCommand) -> None:
        """Send a command that need not survive a lost connection."""
        seat = self._seats.get(client_id)
        if seat is not None and seat.stream is not None:
            seat.stream.send(command)
