"""Predictions as documents: a model of the trail, applied once by the clients that were asked.

`slot` is a unique field, as a session's: "active" until the prediction has ended, so there is one at a time.

::

    waiting ──▶ running ──▶ finished | failed
       └──▶ failed: a session had begun
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedn.config import NAME
from fedn.errors import AlreadyExists, ConfigInvalid, FednError, NotFound, PredictionRunning, VersionConflict
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.sessions import ACTIVE, MayWrite
from fedn.storage.state import State
from fedn.yaml_file import nearest

NEWEST = 100  # so many are listed
OF_CONFIG = ("round_timeout", "seed", "settings", "client_settings")
KEYS = ("model", "clients", *OF_CONFIG)


@dataclass(frozen=True)
class Asked:
    """What a person asks for: `model` is an id or "latest", `clients` are names, or None for all that are connected."""

    model: str
    clients: list[str] | None
    config: SessionConfig

    @staticmethod
    def parse(given: Mapping[str, Any]) -> Asked:
        """From JSON values. Raises ConfigInvalid."""
        for key in given:
            if key not in KEYS:
                raise ConfigInvalid(f"unknown key {key!r}{nearest(key, KEYS)}")
        model, clients = given.get("model", "latest"), given.get("clients")
        if not isinstance(model, str):
            raise ConfigInvalid(f"model: expected an id or 'latest', found {str(model)[:80]!r}")
        if clients is not None and not (isinstance(clients, list) and clients and all(map(is_name, clients))):
            raise ConfigInvalid(f"clients: expected a list of names, found {str(clients)[:80]!r}")
        config = SessionConfig.parse({key: given[key] for key in OF_CONFIG if key in given} | {"rounds": 1})
        return Asked(model, None if clients is None else sorted(set(clients)), config)


def is_name(value: object) -> bool:
    """Whether it could be a client's name."""
    return isinstance(value, str) and re.fullmatch(NAME[0], value) is not None


class Predictions:
    """The predictions in a state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, asked: Asked, *, model: str, package: str) -> dict[str, Any]:
        """Ask for a prediction with this model and package. Raises PredictionRunning with the id of the one before."""
        document = {
            "_id": f"p-{secrets.token_hex(4)}",
            "slot": ACTIVE,
            "status": "waiting",
            "code": "",
            "reason": "",
            "model": model,
            "package": package,
            "asked": asked.clients,
            "config": asked.config.as_json(),
            "created": time.time(),
            "ended": None,
        }
        try:
            return self._state.insert("predictions", document)
        except AlreadyExists:
            before = self.active()
            if before is None:  # it ended at this very moment
                return self.create(asked, model=model, package=package)
            raise PredictionRunning(f"prediction {before['_id']} is running", prediction=before["_id"]) from None

    def active(self) -> dict[str, Any] | None:
        """The prediction that waits or runs now."""
        found = self._state.find("predictions", where={"slot": ACTIVE}, limit=1)
        return found[0] if found else None

    def get(self, prediction_id: str) -> dict[str, Any]:
        """A prediction. Raises NotFound."""
        document = self._state.get("predictions", prediction_id)
        if document is None:
            raise NotFound(f"there is no prediction {prediction_id!r}")
        return document

    def newest(self) -> list[dict[str, Any]]:
        """The newest ones, newest first."""
        return self._state.find("predictions", sort="created", descending=True, limit=NEWEST)

    def begin(self, prediction_id: str, term: int) -> bool:
        """The leader of this term takes it up; False when it was refused meanwhile.

        What a former leader is about to write fails from here on.
        """
        taken = {"status": "running", "term": term}
        begun = self._change(prediction_id, lambda d: d | taken if d["slot"] == ACTIVE else d)
        return bool(begun["status"] == "running")

    def refuse(self, prediction_id: str, error: FednError) -> bool:
        """End it if nobody has taken it up; True when that was so."""
        ended = self._change(
            prediction_id, lambda d: _ended(d, "failed", error.code, error.reason) if d["status"] == "waiting" else d
        )
        return bool(ended["code"] == error.code)

    def end(
        self, prediction_id: str, status: str, *, code: str = "", reason: str = "", may_write: MayWrite = lambda: None
    ) -> dict[str, Any]:
        """Close a prediction and free the slot; `may_write` raises StaleTerm when another leads."""

        def close(document: dict[str, Any]) -> dict[str, Any]:
            return document if document["slot"] != ACTIVE else _ended(document, status, code, reason)

        return self._change(prediction_id, close, may_write)

    def _change(
        self,
        prediction_id: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        may_write: MayWrite = lambda: None,
    ) -> dict[str, Any]:
        """Compare-and-set until it holds; asked between reading and writing, `may_write` guards the very write."""
        while True:
            before = self.get(prediction_id)
            after = change(before)
            if after == before:
                return before
            may_write()
            try:
                return self._state.replace("predictions", after)
            except VersionConflict:
                continue


def _ended(document: dict[str, Any], status: str, code: str, reason: str) -> dict[str, Any]:
    final = {"status": status, "code": code, "reason": reason, "slot": document["_id"], "ended": time.time()}
    return document | final
