"""The update journal: what this combiner has promised, on disk before it is promised (I1).

::

    blob verified and durable ─▶ journal row committed ─▶ receipt to the client
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

from fedn.combiner.round import Answer, Order
from fedn.errors import AlreadyExists, VersionConflict
from fedn.storage.state import State

LEADER = "newest leader"


class Journal:
    """Rounds and accepted answers in an embedded state store. Calls block; run them in a thread."""

    def __init__(self, state: State) -> None:
        self._state = state

    def open_round(self, order: Order) -> None:
        """Note that the round runs here; repeating it is fine."""
        document = {"_id": order.round_id, "term": order.term, "model": order.model, "package": order.package}
        with suppress(AlreadyExists):
            self._state.insert("journal_rounds", document | {"sum": ""})

    def knows(self, round_id: str) -> bool:
        """Whether the round has run here before, and was not ended."""
        return self._state.get("journal_rounds", round_id) is not None

    def accept(self, round_id: str, answer: Answer) -> None:
        """Commit one answer. Raises AlreadyExists when the client's answer is in the journal."""
        row = asdict(answer) | {"metrics": dict(answer.metrics)}
        self._state.insert("journal_updates", {"_id": f"{round_id}/{answer.client_id}", "round": round_id} | row)

    def answers(self, round_id: str) -> list[Answer]:
        """The accepted answers of a round."""
        rows = self._state.find("journal_updates", where={"round": round_id})
        return [Answer.from_document(row) for row in rows]

    def publish(self, round_id: str, digest: str) -> None:
        """Note the combiner model that was folded."""
        row = self._state.get("journal_rounds", round_id)
        if row is not None:
            self._state.replace("journal_rounds", row | {"sum": digest})

    def end(self, round_id: str) -> None:
        """The reducer is done with the round: forget it."""
        self._state.clear("journal_updates", {"round": round_id})
        self._state.clear("journal_rounds", {"_id": round_id})

    def end_others(self, round_id: str) -> None:
        """Forget all rounds but this one."""
        for row in self._state.find("journal_rounds"):
            if row["_id"] != round_id:
                self.end(row["_id"])

    def needed(self) -> set[str]:
        """The digests of all blobs that rounds in the journal refer to."""
        rounds = self._state.find("journal_rounds")
        updates = self._state.find("journal_updates")
        return {str(r[key]) for r in rounds for key in ("model", "package", "sum")} | {
            str(u["update"]) for u in updates
        }

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
