"""The update journal: what this combiner has promised, on disk before it is promised (I1).

::

    blob verified and durable ─▶ journal row committed ─▶ receipt to the client
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from fedn.combiner.round import Answer, Order
from fedn.errors import AlreadyExists, VersionConflict
from fedn.storage.sqlite import SqliteState

LEADER = "newest leader"


class Journal:
    """Rounds and accepted answers in an embedded state store. Calls block; run them in a thread."""

    def __init__(self, state: SqliteState) -> None:
        self._state = state

    def begin(self, order: Order) -> bool:
        """Note that this round runs here, and forget all others; True when it ran here before.

        The leader runs one round at a time: it does not begin the next before this one is over.
        """
        document = {"_id": order.round_id, "term": order.term, "model": order.model, "package": order.package}
        with self._state.together():
            before = [row["_id"] for row in self._state.find("journal_rounds")]
            for round_id in before:
                if round_id != order.round_id:
                    self._state.clear("journal_updates", {"round": round_id})
                    self._state.clear("journal_rounds", {"_id": round_id})
            if order.round_id not in before:
                self._state.insert("journal_rounds", document)
        return order.round_id in before

    def accept(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Commit answers, each with its round, or none of them. Raises AlreadyExists when one is in the journal."""
        with self._state.together():
            for round_id, answer in answers:
                row = asdict(answer) | {"metrics": dict(answer.metrics)}
                key = {"_id": f"{round_id}/{answer.client_id}", "round": round_id}
                self._state.insert("journal_updates", key | row)

    def answers(self, round_id: str) -> list[Answer]:
        """The accepted answers of a round."""
        rows = self._state.find("journal_updates", where={"round": round_id})
        return [Answer.from_document(row) for row in rows]

    def needed(self) -> set[str]:
        """The digests of all blobs that rounds in the journal refer to."""
        rounds = self._state.find("journal_rounds")
        return {str(row[key]) for row in rounds for key in ("model", "package")} | self.updates()

    def updates(self) -> set[str]:
        """The digests of all accepted updates: they were durable before they were noted here."""
        return {str(row["update"]) for row in self._state.find("journal_updates")}

    def highest_term(self) -> int:
        """The newest leader's term that the journal has seen; it outlives the rounds."""
        seen = self._state.get("leases", LEADER)
        return int(seen["term"]) if seen is not None else 0

    def keep_term(self, term: int) -> None:
        """Note a leader's term, unless a newer one is noted."""
        while (seen := self._state.get("leases", LEADER)) is None or seen["term"] < term:
            with suppress(AlreadyExists, VersionConflict):  # another call notes one at this moment: look again
                if seen is None:
                    self._state.insert("leases", {"_id": LEADER, "term": term})
                else:
                    self._state.replace("leases", seen | {"term": term})
