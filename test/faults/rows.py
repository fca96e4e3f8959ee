"""The matrix, as data: who is hit × when × how. Every row that makes sense; what is left out says why.

In each, a supervisor starts again what died, the quorum is all clients and the rounds last longer than the fault. So
the models must be those of the undisturbed session, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Who = Literal["reducer", "leader", "combiner", "client", "child", "all", "mongo", "s3"]
How = Literal["kill -9", "SIGTERM", "SIGSTOP"]
Isolation = Literal["worker", "process"]
# The embedded stores, or servers; and where clients, or combiners, are given up soon.
Ground = Literal["embedded", "stores", "losses", "moves"]

WHO: Mapping[Who, str] = MappingProxyType(
    {
        "reducer": "the reducer, all of its processes",
        "leader": "the reducer's worker that leads",
        "combiner": "a combiner",
        "client": "a client",
        "child": "the process that trains or validates for a client",
        "all": "every process at once",
        "mongo": "the state store's server",
        "s3": "the blob store's server",
    }
)
HOW: tuple[How, ...] = ("kill -9", "SIGTERM", "SIGSTOP")
STORES: tuple[Who, ...] = ("mongo", "s3")

REDUCER, COMBINER, CLIENT = "reducer", "north", "c0"  # the roles that are hit, or halted
ROUND = 1  # the round that is hit; the next one shows that all goes on


@dataclass(frozen=True)
class Trigger:
    """What happens first: a role comes to a point of its work, and waits there."""

    role: str
    point: str
    where: Mapping[str, object] = field(default_factory=dict)


IN_TRAINING = MappingProxyType({"kind": "train", "round": ROUND})
IN_ROUND = MappingProxyType({"round": ROUND})

ORDERED = Trigger(REDUCER, "dispatch", IN_TRAINING)
STAGED = Trigger(COMBINER, "dispatch", IN_TRAINING)
GIVING = Trigger(REDUCER, "giving")
DOWNLOADING = Trigger(CLIENT, "download", MappingProxyType({"folder": "models"}))
TRAINING = Trigger(CLIENT, "train", IN_ROUND)
UPLOADING = Trigger(CLIENT, "upload")
SUBMITTING = Trigger(CLIENT, "submit", IN_TRAINING)
ACCEPTED = Trigger(COMBINER, "accepted", MappingProxyType({**IN_TRAINING, "client": CLIENT}))
SUMMING = Trigger(COMBINER, "folding")
TAKING = Trigger(REDUCER, "taking")
AVERAGING = Trigger(REDUCER, "folding")
BEFORE_RECORD = Trigger(REDUCER, "before-record", IN_ROUND)
AFTER_RECORD = Trigger(REDUCER, "after-record", IN_ROUND)
VALIDATING = Trigger(CLIENT, "validate", IN_ROUND)

# When, in words → what is waited for; for some of those who are hit, something nearer to their own work.
WHEN: Mapping[str, Mapping[str, Trigger]] = MappingProxyType(
    {
        "before dispatch": {"": STAGED, "reducer": ORDERED, "leader": ORDERED, "mongo": ORDERED, "s3": ORDERED},
        "while the model travels to a combiner": {"": GIVING},
        "while the model downloads": {"": DOWNLOADING},
        "while training": {"": TRAINING},
        "in the middle of an upload": {"": UPLOADING},
        "after an upload, before it is submitted": {"": SUBMITTING},
        "after an update was accepted, before its receipt": {"": ACCEPTED},
        "while a combiner folds": {"": SUMMING},
        "while the sums travel to the reducer": {"": TAKING},
        "while the reducer folds": {"": AVERAGING},
        "between blob and trail record": {"": BEFORE_RECORD},
        "after the trail record": {"": AFTER_RECORD},
        "while validating": {"": VALIDATING},
    }
)

NO_CHILD = "a client has no such process then"
NOT_A_ROLE = "a supervisor ends the reducer, not one of its workers: that row is the reducer's"
POWER_CUT = "a power cut asks nobody, and stops nobody for a while"
LEFT_OUT: Mapping[tuple[str, str], str] = MappingProxyType(
    {("child", when): NO_CHILD for when in WHEN if when not in ("while training", "while validating")}
    | {("leader", "SIGTERM"): NOT_A_ROLE, ("all", "SIGTERM"): POWER_CUT, ("all", "SIGSTOP"): POWER_CUT}
)


@dataclass(frozen=True)
class Row:
    """One fault."""

    who: Who
    when: str
    how: How
    isolation: Isolation = "worker"

    @property
    def trigger(self) -> Trigger:
        """What is waited for."""
        choices = WHEN[self.when]
        return choices.get(self.who, choices[""])

    @property
    def victim(self) -> str:
        """Who is hit, in words."""
        return f"{self.who} (process)" if self.isolation == "process" else self.who

    @property
    def name(self) -> str:
        """The row in words, unique."""
        return f"{self.victim}, {self.when}, {self.how}"

    @property
    def wanted(self) -> str:
        """What is expected, in words."""
        return "the same model"

    @property
    def ground(self) -> Ground:
        """Which kind of network is hit."""
        return "stores" if self.who in STORES else "embedded"


def rows() -> Iterator[Row]:
    """The whole matrix."""
    for who in WHO:
        for when in WHEN:
            for how in HOW:
                if (who, when) not in LEFT_OUT and (who, how) not in LEFT_OUT:
                    yield from isolated(Row(who, when, how))


def isolated(row: Row) -> Iterator[Row]:
    """The row; where its child's kind of process matters, for each kind."""
    yield row
    if row.who in ("client", "child") and row.trigger in (TRAINING, VALIDATING):
        yield Row(row.who, row.when, row.how, "process")
