"""What a round is to do: laid out once, kept in the round's document, the same for the leader that goes on with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedn.errors import FednError
from fedn.reducer.participants import ConnectedClient, task_seed
from fedn.reducer.session_config import SessionConfig
from fedn.trail.records import canonical_json
from fedn.wire.v1 import control_pb2 as control

KINDS = {
    "train": control.ROUND_KIND_TRAIN,
    "validate": control.ROUND_KIND_VALIDATE,
    "predict": control.ROUND_KIND_PREDICT,
}


@dataclass(frozen=True)
class Plan:
    """What a round is to do, as its document holds it."""

    round_id: str
    session: str
    round: int
    kind: str  # train, validate, predict
    model: str
    package: str
    participants: Sequence[ConnectedClient]
    config: SessionConfig
    term: int
    epoch: int = 1  # of the assignment client → combiner
    lost: frozenset[str] = frozenset()  # combiners that are fenced: what they do in this round counts no more
    losses: Sequence[Mapping[str, str]] = ()  # every loss of the round, also of those that are back, for people

    @staticmethod
    def assignment_of(begun: Mapping[str, Any]) -> dict[str, Any]:
        """Who is assigned where, from the document of a round that a former leader began: fields of a plan."""
        return {
            "participants": [ConnectedClient(**client) for client in begun["participants"]],
            "epoch": begun.get("epoch", 1),
            "lost": frozenset(begun.get("lost", ())),
            "losses": begun.get("losses", ()),
        }

    @property
    def is_followed(self) -> bool:
        """Whether its session goes on with the model that this round makes, if all goes well."""
        return self.config.validate or self.round < self.config.rounds

    def document(self) -> dict[str, Any]:
        """The round's first document."""
        return {
            "_id": self.round_id,
            "round_id": self.round_id,
            "session": self.session,
            "round": self.round,
            "kind": self.kind,
            "status": "started",
            "base": self.model,
            "started": time.time(),
            "term": self.term,
        } | self.assignment()

    def assignment(self) -> dict[str, Any]:
        """Who is assigned where, for the round's document."""
        clients = [
            {"client_id": c.client_id, "name": c.name, "part": c.part, "combiner": c.combiner}
            for c in self.participants
        ]
        lost = {"lost": sorted(self.lost), "losses": list(self.losses)}
        return {"participants": clients, "epoch": self.epoch} | lost

    def combiners(self) -> list[str]:
        """The combiners of the participants, but for those that are lost."""
        return sorted({client.combiner for client in self.participants} - self.lost)

    def homeless(self) -> list[ConnectedClient]:
        """The clients whose combiner is lost."""
        return [client for client in self.participants if client.combiner in self.lost]

    def without(self, combiner: str, why: FednError) -> Plan:
        """The plan with this combiner fenced."""
        loss = {"combiner": combiner, "code": why.code, "reason": why.reason}
        return replace(self, lost=self.lost | {combiner}, losses=(*self.losses, loss), epoch=self.epoch + 1)

    def moved(self, moves: Mapping[str, str]) -> Plan:
        """The plan with these clients given to these combiners, of which none is lost any more."""
        given = [replace(c, combiner=moves.get(c.client_id, c.combiner)) for c in self.participants]
        return replace(self, participants=given, lost=self.lost - set(moves.values()), epoch=self.epoch + 1)

    def request(self, combiner: str, sizes: Mapping[str, int], *, left_s: float) -> control.StartRoundRequest:
        """The order for one combiner, its own clients only, when so much of the round is left."""
        chosen = [
            control.Participant(
                client_id=c.client_id,
                part=c.part,
                seed=task_seed(seed=self.config.seed, round_number=self.round, part=c.part),
                settings=self._settings_of(c.name),
            )
            for c in self.participants
            if c.combiner == combiner
        ]
        return control.StartRoundRequest(
            term=self.term,
            round_id=self.round_id,
            session_id=self.session,
            round=self.round,
            kind=KINDS[self.kind],
            model=self.model,
            model_size=sizes[self.model],
            package=self.package,
            package_size=sizes[self.package],
            participants=chosen,
            round_timeout_s=left_s,
            session_seed=self.config.seed,
            settings=canonical_json(self.config.settings).decode(),
            epoch=self.epoch,
            encodings=self.config.encodings,
        )

    def _settings_of(self, name: str) -> str:
        """The settings that are for one client alone."""
        own = self.config.client_settings.get(name)
        return canonical_json(own).decode() if own else ""
