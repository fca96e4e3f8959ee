"""One leader among the reducer's workers and replicas.

The lease is one document. Its holder beats (compare-and-set on the version); another takes it when the version
has not changed for `ttl_s` on *the taker's own* monotonic clock, so no two clocks are ever compared. Each new
holder raises the term, and combiners refuse a lower one: who was only frozen cannot write any more (fencing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedn.errors import AlreadyExists, Unavailable, VersionConflict
from fedn.storage.state import State

NAME = "control"


class Lease:
    """This worker's view of the lease."""

    def __init__(self, state: State, *, holder: str, ttl_s: float, clock: Callable[[], float]) -> None:
        self._state = state
        self._holder = holder
        self._ttl_s = ttl_s
        self._clock = clock
        self._mine: dict[str, Any] | None = None
        self._renewed_at = 0.0
        self._unsure = False
        self._seen_version = -1
        self._seen_at = clock()

    def try_take(self) -> int | None:
        """The term, if the lease is ours after this call; else None."""
        now = self._clock()
        present = self._state.get("leases", NAME)
        if present is None:
            return self._write(None, {"_id": NAME, "term": 1, "beat": 0})
        if present["_version"] != self._seen_version:
            self._seen_version, self._seen_at = present["_version"], now
        if present["holder"] not in ("", self._holder) and now - self._seen_at < self._ttl_s:
            return None
        return self._write(present, present | {"term": present["term"] + 1})

    def renew(self) -> bool:
        """Beat. False when another has taken the lease: stop leading at once. Raises Unavailable: beat again."""
        if self._mine is None:
            return False
        if self._unsure:
            self._look_again(self._mine)
        self._unsure = True
        kept = self._mine is not None and self._write(self._mine, self._mine | {"beat": self._mine["beat"] + 1})
        self._unsure = False
        return bool(kept)

    def _look_again(self, mine: dict[str, Any]) -> None:
        """A beat had no answer: it may have been written all the same, and then the version is another."""
        present = self._state.get("leases", NAME)
        ours = present is not None and (present["holder"], present["term"]) == (self._holder, mine["term"])
        self._mine = present if ours else None

    @property
    def fresh(self) -> bool:
        """True while nobody else can have taken the lease."""
        return self._mine is not None and self._clock() - self._renewed_at < self._ttl_s

    def holds(self) -> bool:
        """`fresh`, for who is about to write. Raises Unavailable while the next beat has yet to tell."""
        if not self.fresh and self._unsure:
            raise Unavailable("the state store has yet to say whether this worker still leads")
        return self.fresh

    def release(self) -> None:
        """Give the lease up, so that another need not wait."""
        if self._mine is not None:
            self._write(self._mine, self._mine | {"released": True})
            self._mine = None

    def _write(self, before: dict[str, Any] | None, after: dict[str, Any]) -> int | None:
        asked_at = self._clock()
        released = after.pop("released", False)
        document = after | {"holder": "" if released else self._holder}
        try:
            written = (
                self._state.insert("leases", document) if before is None else self._state.replace("leases", document)
            )
        except (AlreadyExists, VersionConflict):
            self._mine = None
            return None
        # Counted from before the write: the others see the new version no earlier.
        self._mine, self._renewed_at = written, asked_at
        return int(written["term"])
