"""The most anonymous memory that a role's processes hold at one moment: RssAnon, so no libraries and no page cache."""

from __future__ import annotations

import threading
from contextlib import suppress

from bench.anonymous import anonymous
from fedn.cli.descendants import PROC, descendants

EVERY_S = 0.2
FAMILY_EVERY = 10  # looks at the memory per look at who has started whom, which reads all of /proc


class Watch:
    """Watches process trees until it is stopped. `client-0`, `client-1` … are each a client; the largest counts."""

    def __init__(self) -> None:
        self._roots: list[tuple[str, int]] = []
        self._peaks: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-memory", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, role: str, root: int) -> None:
        """Count this process, and all that it starts, for the role."""
        self._roots.append((role, root))

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def peak_mb(self) -> dict[str, float]:
        """Megabytes (10^6 bytes) by role."""
        found: dict[str, float] = {}
        for role, peak in self._peaks.items():
            kind = role.partition("-")[0]
            found[kind] = max(found.get(kind, 0.0), round(peak / 1e6, 1))
        return found

    def _run(self) -> None:
        looks, members = 0, list[tuple[str, int]]()
        while not self._ended.wait(EVERY_S):
            if looks % FAMILY_EVERY == 0:
                members = self._members()
            looks += 1
            self._look(members)

    def _members(self) -> list[tuple[str, int]]:
        """Whose each of our descendants is: those of a root's session, and those that a member has started."""
        roots = {root: role for role, root in self._roots}
        found: dict[int, str] = {}
        for pid in descendants():  # parents come before their children
            with suppress(OSError):  # it has ended meanwhile
                _, parent, _, session = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:4]
                role = roots.get(pid) or found.get(int(parent)) or roots.get(int(session))
                if role is not None:
                    found[pid] = role
        return [(role, pid) for pid, role in found.items()]

    def _look(self, members: list[tuple[str, int]]) -> None:
        now: dict[str, int] = {}
        for role, pid in members:
            now[role] = now.get(role, 0) + _held(pid)
        for role, held in now.items():
            self._peaks[role] = max(self._peaks.get(role, 0), held)


def _held(pid: int) -> int:
    with suppress(OSError, KeyError):  # it has ended meanwhile
        return anonymous(pid)
    return 0
