"""What a round is to do: laid out once, kept in the round's document, the same for the leader that goes on with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

    def document(self) -> dict[str, Any]:
        """The round's first document."""
        clients = [
            {"client_id": c.client_id, "name": c.name, "part": c.part, "combiner": c.combiner}
            for c in self.participants
        ]
        return {
            "_id": self.round_id,
            "round_id": self.round_id,
            "session": self.session,
            "round": self.round,
            "kind": self.kind,
            "status": "started",
            "base": self.model,
            "participants": clients,
            "started": time.time(),
        }

    def combiners(self) -> list[str]:
        """The combiners of the participants."""
        return sorted({client.combiner for client in self.participants})

    def request(self, combiner: str, sizes: Mapping[str, int]) -> control.StartRoundRequest:
        """The order for one combiner: its own clients only."""
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
            round_timeout_s=self.config.round_timeout,
            session_seed=self.config.seed,
            settings=canonical_json(self.config.settings).decode(),
        )

    def _settings_of(self, name: str) -> str:
        """The settings that are for one client alone."""
        own = self.config.client_settings.get(name)
        return canonical_json(own).decode() if own else ""
