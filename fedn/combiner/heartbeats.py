"""How often clients give signs of life, and who has given none for too long.

One timer looks after all clients. The more there are, the more seldom each is heard, so that ten thousand cost what
a few hundred do; a client whose interval has become much too short is welcomed again, with the one of now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fedn.combiner.roster import Roster
from fedn.wire.v1 import combiner_pb2 as pb

log = logging.getLogger(__name__)

SILENCE = 3  # heartbeats that may be missed before a client counts as gone
BEATS_PER_S = 170.0  # of all clients together
MOST_S = 60.0  # between two of one client, however many there are
TOO_OFTEN = 2.0  # a client that beats so many times as often as it need is told


def interval(heartbeat_s: float, clients: int) -> float:
    """The seconds between two heartbeats of one client among so many; never below what was set."""
    return max(heartbeat_s, min(clients / BEATS_PER_S, MOST_S))


class Heartbeats:
    """Of all clients of a roster. ``sends`` says who uploads: over a narrow way, heartbeats wait behind its bytes."""

    def __init__(self, combiner: str, roster: Roster, *, heartbeat_s: float, sends: Callable[[str], bool]) -> None:
        self._combiner = combiner
        self._roster = roster
        self._heartbeat_s = heartbeat_s
        self._sends = sends
        self._looked_at: float | None = None

    def welcome(self) -> pb.Welcome:
        """What a client is told that attaches now."""
        return pb.Welcome(combiner=self._combiner, heartbeat_s=interval(self._heartbeat_s, self._roster.count))

    async def watch(self) -> None:
        """Look after them for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._heartbeat_s)
            self.look(clock())

    def look(self, now: float) -> None:
        """Cut the streams of who was silent for too long, and tell those who beat too often.

        A look that comes too late says that this process was held up itself: it has yet to hear what came meanwhile.
        """
        late = self._looked_at is not None and now - self._looked_at > SILENCE * self._heartbeat_s
        self._looked_at = now
        welcome = self.welcome()
        for seat in self._roster.seats():
            stream = seat.stream
            if stream is None:
                continue
            if late or self._sends(seat.client_id):
                stream.heard_at = now
            elif now - stream.heard_at > SILENCE * stream.heartbeat_s:
                log.info("client %s was silent for %.1f s", seat.name, now - stream.heard_at)
                stream.cut()
            elif welcome.heartbeat_s >= TOO_OFTEN * stream.heartbeat_s:
                stream.heartbeat_s = welcome.heartbeat_s
                stream.send(pb.CombinerCommand(welcome=welcome))
