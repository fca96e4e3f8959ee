"""One prediction, carried out by the leader: a single round of kind `predict` on the clients that are there now.

::

    taken up ─▶ who is connected? ─▶ one round ─▶ each client's JSON is in the blob store ─▶ finished
                    │ none               │ no answer
                    └────────────────────┴──▶ failed, with code and reason

It belongs to no session, and its round is number 0. After a change of leader the next one goes on with it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from fedn.errors import FednError, QuorumNotMet, StaleTerm, from_code
from fedn.reducer.desk import Desk
from fedn.reducer.network import Network, connected
from fedn.reducer.plan import Plan
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig

log = logging.getLogger(__name__)


def round_id_of(prediction_id: str) -> str:
    """The id of a prediction's one round."""
    return f"{prediction_id}.0.predict.1"


class Predicting:
    """Carries predictions out; `fresh()` as the driver's."""

    def __init__(self, desk: Desk, network: Network, *, term: int, fresh: Callable[[], bool]) -> None:
        self._desk = desk
        self._network = network
        self._term = term
        self._fresh = fresh
        self._stores = desk.stores

    async def run(self, prediction_id: str) -> None:
        """One prediction to its end; whatever goes wrong becomes its status. Raises StaleTerm when another leads."""
        if not await self._stores.do_at_last(self._desk.predictions.begin, prediction_id, self._term):
            return
        try:
            await self._round(await self._stores.do_at_last(self._desk.predictions.get, prediction_id))
        except StaleTerm:
            raise
        except FednError as error:
            log.warning("prediction %s failed: %s", prediction_id, error)
            await self._end(prediction_id, "failed", code=error.code, reason=error.reason)
        except Exception as error:  # as a session's: it must end with a reason
            log.exception("prediction %s failed", prediction_id)
            reason = f"{type(error).__name__}: {error}"
            await self._end(prediction_id, "failed", code=FednError.code, reason=reason)
        else:
            await self._end(prediction_id, "finished")
            log.info("prediction %s finished", prediction_id)

    async def _end(self, prediction_id: str, status: str, **why: str) -> None:
        def may_write() -> None:
            if not self._fresh():
                raise StaleTerm("the lease ran out before the prediction could be ended")

        end = functools.partial(self._desk.predictions.end, may_write=may_write)
        await self._stores.do_at_last(end, prediction_id, status, **why)

    async def _round(self, asked: dict[str, Any]) -> None:
        round_id = round_id_of(asked["_id"])
        begun = await self._stores.do(self._desk.state.get, "rounds", round_id)
        if begun is not None and begun["status"] == "failed":
            raise from_code(begun["code"], begun["reason"])
        if begun is not None and begun["status"] != "started":
            return
        plan = Plan(
            round_id=round_id,
            session=asked["_id"],
            round=0,
            kind="predict",
            model=asked["model"],
            package=asked["package"],
            config=SessionConfig.parse(asked["config"]),
            term=self._term,
            **await self._assignment(asked, begun),
        )
        await RoundRun(self._desk, self._network, plan, fresh=self._fresh).run()

    async def _assignment(self, asked: dict[str, Any], begun: dict[str, Any] | None) -> dict[str, Any]:
        """Who is connected, of those that were asked; the former leader's choice if it made one."""
        if begun is not None:
            return Plan.assignment_of(begun)
        seen = await self._stores.ask(self._network.survey)
        clients = await self._stores.do(connected, self._desk.state, seen)
        chosen = [client for client in clients if asked["asked"] is None or client.name in asked["asked"]]
        if not chosen:
            who = "no client" if asked["asked"] is None else "none of the clients that were asked"
            raise QuorumNotMet(f"{who} is connected")
        return {"participants": sorted(chosen, key=lambda client: (client.part, client.client_id))}
