"""The state of one round at one combiner: what was ordered, who answered what.

Events come in (`settle`, `refuse`, `abort`), the phases wait on `changed`. The gate makes *accepting an
update* and *closing the round* exclusive: after the gate was closed, no update is journalled any more.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fedn.aggregation.ranges import Ranges
from fedn.combiner.gate import Gate
from fedn.combiner.pulse import Pulse
from fedn.errors import BadInput, ClientLost, CombinerDraining, FednError, Unavailable
from fedn.model.schema import Schema
from fedn.wire.encodings import Encoding
from fedn.wire.v1 import control_pb2 as control

Kind = Literal["train", "validate", "predict"]
Status = Literal["accepted", "failed", "missing"]

KINDS: Mapping[int, Kind] = {
    control.ROUND_KIND_TRAIN: "train",
    control.ROUND_KIND_VALIDATE: "validate",
    control.ROUND_KIND_PREDICT: "predict",
}
ROUND_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
TAILS_CHARS = 2**20  # of all clients' stderr in one outcome: it is one message


@dataclass(frozen=True)
class Participant:
    """A client that the reducer chose for the round; `seed` fixes its task, `settings` are for it alone."""

    client_id: str
    part: int
    seed: int
    settings: str = ""


def participant(sent: control.Participant) -> Participant:
    """A participant as StartRound names it."""
    return Participant(sent.client_id, sent.part, sent.seed, sent.settings)


@dataclass(frozen=True)
class Order:
    """What the reducer asked for; it never changes during the round."""

    round_id: str
    session_id: str
    round: int
    kind: Kind
    term: int
    model: str
    model_size: int
    package: str
    package_size: int
    participants: Mapping[str, Participant]
    round_timeout_s: float
    session_seed: int
    settings: str
    epoch: int = 0
    encodings: tuple[str, ...] = ()

    @cached_property
    def encoding(self) -> Encoding:
        """In which form models and updates travel to and from the clients."""
        return Encoding.of(self.encodings)

    @staticmethod
    def from_wire(request: control.StartRoundRequest) -> Order:
        """The order that a StartRound carries.

        Raises BadInput for a round id that cannot be a file's name, and for a kind or an encoding that this combiner
        does not know.
        """
        if not ROUND_ID.fullmatch(request.round_id):
            raise BadInput(f"{request.round_id[:80]!r} is not a round's id")
        if request.kind not in KINDS:
            raise BadInput(f"this combiner knows no round of kind {request.kind}")
        Encoding.of(request.encodings)
        return Order(
            round_id=request.round_id,
            session_id=request.session_id,
            round=request.round,
            kind=KINDS[request.kind],
            term=request.term,
            model=request.model,
            model_size=request.model_size,
            package=request.package,
            package_size=request.package_size,
            participants={p.client_id: participant(p) for p in request.participants},
            round_timeout_s=request.round_timeout_s,
            session_seed=request.session_seed,
            settings=request.settings,
            epoch=request.epoch,
            encodings=tuple(request.encodings),
        )


@dataclass(frozen=True)
class WireModel:
    """The round's model in the float type of the wire: a blob on the shelf, made again whenever the round is staged.

    `native` names the tensors that have this type in the model too.
    """

    digest: str
    size: int
    native: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """How one client's task ended. `update` is the digest of an update or of predictions, `size` the latter's bytes."""

    client_id: str
    status: Status
    code: str = ""
    reason: str = ""
    stderr_tail: str = ""
    update: str = ""
    num_examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    size: int = 0

    @staticmethod
    def failed(client_id: str, error: FednError, *, stderr_tail: str = "", seconds: float = 0.0) -> Answer:
        """The answer of a client whose task failed, or whose update was refused, with `error`."""
        return Answer(client_id, "failed", error.code, error.reason, stderr_tail=stderr_tail, seconds=seconds)

    def to_wire(self, tail_chars: int) -> control.ClientOutcome:
        """The line of this client in the round's outcome, with the end of its stderr."""
        tail = self.stderr_tail[-tail_chars:]
        return control.ClientOutcome(**{**self.__dict__, "metrics": dict(self.metrics), "stderr_tail": tail})

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Answer:
        """An accepted answer as the journal holds it."""
        names = ("client_id", "status", "update", "num_examples", "metrics", "seconds")
        return Answer(**{name: document[name] for name in names}, size=document.get("size", 0))


class Round:
    """One round; see the module's docstring. It may go on from one with other participants (`former`)."""

    def __init__(
        self, order: Order, former: Round | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.order = order
        self.former = former
        self.phase = "stage"
        self.phase_s: dict[str, float] = {}
        self._clock = clock
        self._entered = clock()
        self.answers: dict[str, Answer] = {}
        self._open = dict.fromkeys(order.participants)  # in their order
        self.ranges: dict[str, Ranges] = {}
        self.refused: Counter[str] = Counter()
        self.retired = False
        self.content = b""  # of the model that its clients work with, when it is small enough to go with their tasks
        self.schema: Schema | None = None  # of the model
        self.update_schema: Schema | None = None  # of what clients send
        self.wire_model: WireModel | None = None
        self.sum_file: Path | None = None
        self.weight = 0
        self.closed = False
        self.aborted: FednError | None = None
        self.outcome: control.RoundOutcome | None = None
        self.deadline: float | None = None
        self.gate = Gate()
        self.changed = Pulse()
        self.ended = asyncio.Event()

    @property
    def open_clients(self) -> list[str]:
        """Participants that have not answered yet."""
        return list(self._open)

    def accepted(self) -> list[Answer]:
        """The accepted answers, in the order of the client ids."""
        return sorted((a for a in self.answers.values() if a.status == "accepted"), key=lambda a: a.client_id)

    def enter(self, phase: str) -> None:
        """Say which phase the round is in."""
        now = self._clock()
        self.phase_s[self.phase] = self.phase_s.get(self.phase, 0.0) + now - self._entered
        self.phase, self._entered = phase, now
        self.changed.beat()

    def settle(self, answer: Answer) -> None:
        """A client's task has ended; the first answer stands."""
        self.answers.setdefault(answer.client_id, answer)
        self._open.pop(answer.client_id, None)
        self.changed.beat()

    def refuse(self, client_id: str, error: FednError) -> None:
        """An update was refused: count it, and stop waiting for its client."""
        self.refused[error.code] += 1
        if client_id in self.order.participants and not self.closed:
            self.settle(Answer.failed(client_id, error))

    def abort(self, why: FednError) -> None:
        """Stop collecting; nothing will be folded."""
        self.aborted = self.aborted or why
        self.changed.beat()

    async def retire(self) -> None:
        """Another round with this id goes on from here: nothing comes in any more, and nobody is told an outcome."""
        async with self.gate.changing():
            self.retired = True
        self.abort(Unavailable("the round goes on with other participants"))
        self.ended.set()

    def take_up(self, journalled: list[Answer]) -> None:
        """What was answered before: accepted, as the journal has it, and failed, as the former round knew it.

        That a client is lost was only supposed: it may be back.
        """
        former = self.former or self
        failed = [a for a in former.answers.values() if a.status == "failed" and a.code != ClientLost.code]
        self.ranges = dict(former.ranges)
        self.refused = Counter(former.refused)
        self.former = None
        for answer in (*journalled, *failed):
            if answer.client_id in self.order.participants:
                self.settle(answer)

    @property
    def goes_on(self) -> bool:
        """True when others take the round up from here: its clients must not stop working."""
        return self.retired or isinstance(self.aborted, CombinerDraining)

    def check_current(self) -> None:
        """Raise Unavailable when another round with this id has taken this one's place; look under the gate."""
        if self.retired:
            raise Unavailable(f"round {self.order.round_id} goes on with other participants at this moment")

    async def close(self) -> None:
        """No update is accepted any more; who has not answered is missing."""
        async with self.gate.changing():
            self.closed = True
        for client_id in self.open_clients:
            self.settle(Answer(client_id, "missing", "round_closed", "did not answer within the round"))

    def finish(
        self, *, code: str = "", reason: str = "", sum_digest: str = "", sum_size: int = 0, sum_content: bytes = b""
    ) -> None:
        """Set the outcome that the reducer is waiting for."""
        self.enter("done")
        tail_chars = TAILS_CHARS // max(1, sum(bool(a.stderr_tail) for a in self.answers.values()))
        self.outcome = control.RoundOutcome(
            sum=sum_digest,
            sum_size=sum_size,
            sum_content=sum_content,
            weight=self.weight,
            clients=[self.answers[c].to_wire(tail_chars) for c in sorted(self.answers)],
            refused=dict(self.refused),
            code=code,
            reason=reason,
            phase_s=self.phase_s,
        )
        self.changed.beat()
        self.ended.set()

    def progress(self) -> control.RoundProgress:
        """The round as the reducer awaits it, a sign of life each second: with the outcome, once there is one.

        It does not name who works: the reducer asks for that where somebody looks (`counts`).
        """
        progress = self.counts()
        progress.ClearField("busy")
        if self.outcome is not None and not self.retired:
            progress.outcome.CopyFrom(self.outcome)
        return progress

    def counts(self) -> control.RoundProgress:
        """The round as the dashboard shows it."""
        statuses = [a.status for a in self.answers.values()]
        return control.RoundProgress(
            phase=self.phase,
            participants=len(self.order.participants),
            answered=statuses.count("accepted"),
            failed=len(statuses) - statuses.count("accepted"),
            busy=self.open_clients if self.phase == "collect" else [],
        )
