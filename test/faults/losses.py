"""The second set of rows, as data: nobody starts again what died, or the quorum is smaller than all.

There the session goes on without what was lost, or fails with its code and its reason; and whatever the trail has is
the mean of the updates that its receipts name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from test.faults.rows import (
    ACCEPTED,
    CLIENT,
    DOWNLOADING,
    IN_ROUND,
    ORDERED,
    TRAINING,
    UPLOADING,
    VALIDATING,
    Ground,
    Trigger,
)

Way = Literal["kill -9", "SIGSTOP", "kill -9, twice", "SIGSTOP, then late"]


@dataclass(frozen=True)
class Goes:
    """The session finishes; so many updates were accepted in each round, and those who failed say why."""

    updates: tuple[int, ...]
    failed: Mapping[str, str] = field(default_factory=dict)  # in the first round or its validation: client → code
    or_more: bool = False  # whether who lost its combiner is back in time for the next round is a race

    def __str__(self) -> str:
        return f"updates {'≥ ' if self.or_more else ''}{', '.join(map(str, self.updates))}"

    def fits(self, updates: tuple[int, ...]) -> bool:
        """Whether a session with so many updates in its rounds went as expected."""
        enough = len(updates) == len(self.updates) and all(n >= m for n, m in zip(updates, self.updates, strict=True))
        return enough if self.or_more else updates == self.updates


@dataclass(frozen=True)
class Fails:
    """The session fails with this code, and these words are in its reason; the trail has nothing of it."""

    code: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True)
class Loss:
    """One loss. Who is hit are roles, or "child": the process that has halted."""

    who: tuple[str, ...]
    when: str
    trigger: Trigger
    how: Way
    expected: Goes | Fails
    config: Mapping[str, Any]

    @property
    def victim(self) -> str:
        """Who is hit, in words."""
        return " ".join(self.who)

    @property
    def name(self) -> str:
        """The row in words, unique."""
        return f"loss of {self.victim}, {self.when}, {self.how}, quorum {self.config['clients_required']}"

    @property
    def wanted(self) -> str:
        """What is expected, in words."""
        return str(self.expected)

    @property
    def ground(self) -> Ground:
        """Which kind of network is hit."""
        return "losses"


OTHER = Trigger("c1", "train", IN_ROUND)
LOST = {CLIENT: "client_lost"}
KILLED = {CLIENT: "entry_point_killed"}


def quorum(required: int, **more: Any) -> dict[str, Any]:
    return {"clients_required": required} | more


LOSSES: tuple[Loss, ...] = (
    Loss((CLIENT,), "before dispatch", ORDERED, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while the model downloads", DOWNLOADING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while training", TRAINING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while training", TRAINING, "SIGSTOP, then late", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "in the middle of an upload", UPLOADING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "after an update was accepted, before its receipt", ACCEPTED, "kill -9", Goes((4, 3)), quorum(3)),
    Loss((CLIENT,), "while validating", VALIDATING, "kill -9", Goes((4, 3), LOST), quorum(3)),
    Loss(("child",), "while training", TRAINING, "kill -9, twice", Goes((3, 4), KILLED), quorum(3)),
    Loss(("child",), "while validating", VALIDATING, "kill -9, twice", Goes((4, 4), KILLED), quorum(3)),
    Loss(
        ("child",),
        "while training",
        TRAINING,
        "SIGSTOP",
        Goes((3, 4), {CLIENT: "task_timeout"}),
        quorum(3, round_timeout=15),
    ),
    Loss((CLIENT, "c2"), "while training", TRAINING, "kill -9", Goes((2, 2), LOST | {"c2": "client_lost"}), quorum(2)),
    Loss(("south",), "while training", OTHER, "kill -9", Goes((2, 2), or_more=True), quorum(2)),
    Loss(
        (CLIENT,), "while training", TRAINING, "kill -9", Fails("quorum_not_met", ("3 of 4", "client_lost")), quorum(4)
    ),
    Loss(
        ("c0", "c1", "c2", "c3"),
        "before dispatch",
        ORDERED,
        "kill -9",
        Fails("quorum_not_met", ("0 of 1", "client_lost")),
        quorum(1),
    ),
    Loss(
        ("child",),
        "while training",
        TRAINING,
        "kill -9, twice",
        Fails("quorum_not_met", ("3 of 4", "entry_point_killed")),
        quorum(4),
    ),
)
