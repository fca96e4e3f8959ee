"""Whether enough clients are there for a session, and who does not know what it asks for (docs/encoding.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedn.errors import EncodingUnsupported, FednError, QuorumNotMet
from fedn.reducer.network import Seen
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.session_config import SessionConfig

NAMED = 3  # clients that a reason names


@dataclass(frozen=True)
class Attendance:
    """How many clients can take part, and the names of those that cannot."""

    able: int
    unable: Sequence[str]
    required: int
    encodings: Sequence[str]

    @staticmethod
    def of(seen: Iterable[Seen], config: SessionConfig) -> Attendance:
        """Who is attached to combiners that are up; one that two of them name is one."""
        there = {client.client_id: client for combiner in seen if combiner.up for client in combiner.clients()}
        unable = sorted(client.name for client in unfit(there.values(), config.encodings))
        return Attendance(len(there) - len(unable), unable, config.clients_required, config.encodings)

    @property
    def is_enough(self) -> bool:
        """Whether a round may begin."""
        return self.able >= self.required

    @property
    def reason(self) -> str:
        """What is missing, in words."""
        if not self.unable:
            return f"{self.able} of {self.required} required clients are connected"
        names = ", ".join(self.unable[:NAMED]) + (", …" if len(self.unable) > NAMED else "")
        what = " and ".join(self.encodings)
        missing = f"{self.able} of {self.required} required clients that know {what} are connected"
        return f"{missing}; {len(self.unable)} do not know it: {names}"

    def failure(self, reason: str) -> FednError:
        """The error of a session whose time to wait is over."""
        kind = EncodingUnsupported if self.able + len(self.unable) >= self.required else QuorumNotMet
        return kind(reason)


def unfit(clients: Iterable[ConnectedClient], encodings: Sequence[str]) -> list[ConnectedClient]:
    """Those that cannot take part in a session that asks for these encodings."""
    return [client for client in clients if not client.can(encodings)]
