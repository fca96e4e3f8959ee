"""The second set of rows, as data: nobody starts again what died, or it comes back too late, or the quorum is smaller.

There the session goes on without what was lost, or fails with its code and its reason; and whatever the trail has is
the mean of the updates that its receipts name. The clients of a combiner that is lost move to the other one within the
round: nothing of it is lost, and nothing is trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from test.faults.rows import (
    ACCEPTED,
    CLIENT,
    COMBINER,
    DOWNLOADING,
    IN_ROUND,
    IN_TRAINING,
    ORDERED,
    TAKING,
    TRAINING,
    UPLOADING,
    VALIDATING,
    Ground,
    Trigger,
)

Way = Literal["kill -9", "SIGTERM", "SIGSTOP", "kill -9, twice", "SIGSTOP, back after it", "SIGSTOP, back within it"]


@dataclass(frozen=True)
class Goes:
    """The session finishes; so many updates were accepted in each round, and those who failed say why."""

    updates: tuple[int, ...]
    failed: Mapping[str, str] = field(default_factory=dict)  # in the first round or its validation: client → code
    same: bool = False  # the models are those of the undisturbed session

    def __str__(self) -> str:
        return f"updates {', '.join(map(str, self.updates))}" + (", same model" if self.same else "")


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
    ground: Ground = "losses"
    answers: int = 0  # so many have answered before the action
    also: tuple[Trigger, ...] = ()  # that has come to pass, too
    and_back: tuple[str, ...] = ()  # roles that are hit too, and started again

    @property
    def victim(self) -> str:
        """Who is hit, in words."""
        return " ".join([*self.who, *(f"({name})" for name in self.and_back)])

    @property
    def name(self) -> str:
        """The row in words, unique."""
        after = f" with {self.answers} answers" if self.answers else ""
        return f"loss of {self.victim}, {self.when}{after}, {self.how}, quorum {self.config['clients_required']}"

    @property
    def wanted(self) -> str:
        """What is expected, in words."""
        return str(self.expected)


SOUTH, HERS = "south", "c1"  # a combiner that is lost, and a client of it
LOST = {CLIENT: "client_lost"}
KILLED = {CLIENT: "entry_point_killed"}


def quorum(required: int, **more: Any) -> dict[str, Any]:
    return {"clients_required": required} | more


ALONE: tuple[Loss, ...] = (
    Loss((CLIENT,), "before dispatch", ORDERED, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while the model downloads", DOWNLOADING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while training", TRAINING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "while training", TRAINING, "SIGSTOP, back after it", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "in the middle of an upload", UPLOADING, "kill -9", Goes((3, 3), LOST), quorum(3)),
    Loss((CLIENT,), "after an update was accepted, before its receipt", ACCEPTED, "kill -9", Goes((4, 3)), quorum(3)),
    Loss(
        (CLIENT,),
        "after an update was accepted, before its receipt",
        ACCEPTED,
        "kill -9",
        Goes((4, 3)),
        quorum(3),
        "embedded",
        and_back=(COMBINER,),
    ),
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
    Loss(
        (CLIENT, "c2"),
        "while training",
        TRAINING,
        "kill -9",
        Goes((2, 2), LOST | {"c2": "client_lost"}),
        quorum(2),
        also=(Trigger("c2", "train", IN_ROUND),),
    ),
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

SAME = Goes((4, 4), same=True)
HER_TRAINING = Trigger(HERS, "train", IN_ROUND)
MOMENTS: Mapping[str, Trigger] = {
    "before dispatch": Trigger(SOUTH, "dispatch", IN_TRAINING),
    "while the model downloads": Trigger(HERS, "download", {"folder": "models"}),
    "while training": HER_TRAINING,
    "in the middle of an upload": Trigger(HERS, "upload"),
    "after an upload, before it is submitted": Trigger(HERS, "submit", IN_TRAINING),
    "after an update was accepted, before its receipt": Trigger(SOUTH, "accepted", {**IN_TRAINING, "client": HERS}),
    "while a combiner folds": Trigger(SOUTH, "folding"),
    "while the sums travel to the reducer": TAKING,
    "while validating": Trigger(HERS, "validate", IN_ROUND),
}
WAYS: tuple[Way, ...] = ("kill -9", "SIGTERM", "SIGSTOP, back after it")
MOVES: tuple[Loss, ...] = (
    *(Loss((SOUTH,), when, at, how, SAME, quorum(4), "moves") for when, at in MOMENTS.items() for how in WAYS),
    Loss((SOUTH,), "while training", HER_TRAINING, "SIGSTOP, back within it", SAME, quorum(4), "moves"),
    # c3's update, which south has accepted, is sent again to north; then south is back, and has it too
    Loss((SOUTH,), "while training", HER_TRAINING, "SIGSTOP, back within it", SAME, quorum(4), "moves", answers=3),
    Loss((SOUTH,), "while training", HER_TRAINING, "kill -9", SAME, quorum(4), "moves", answers=3),
)

LOSSES: tuple[Loss, ...] = ALONE + MOVES
