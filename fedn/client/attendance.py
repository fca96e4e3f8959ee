"""Whether a client's process is ready: when all of its clients are attached."""

from __future__ import annotations

from collections.abc import Hashable

from fedn.storage.readiness import Readiness


class Attendance:
    """Counts a process's clients; each tells it through its `Member`."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._members = 0
        self._away: dict[Hashable, str] = {}

    def member(self) -> Member:
        """One more client, which is not attached yet."""
        self._members += 1
        self._away[self._members] = "it is starting"
        return Member(self, self._members)

    def say(self, member: Hashable, away: str | None) -> None:
        """Note why a member is away; None when it is attached."""
        self._away.pop(member, None)
        if away is not None:
            self._away[member] = away
        if not self._away:
            self._readiness.ready()
            return
        reason = next(reversed(self._away.values()))
        many = f"{len(self._away)} of {self._members} clients are not attached: " if self._members > 1 else ""
        self._readiness.not_ready(many + reason)


class Member:
    """One client's word in it."""

    def __init__(self, attendance: Attendance, number: int) -> None:
        self._attendance = attendance
        self._number = number

    def ready(self) -> None:
        """It is attached."""
        self._attendance.say(self._number, None)

    def not_ready(self, reason: str) -> None:
        """It is not, and why."""
        self._attendance.say(self._number, reason)
