"""Collect: every participant has its task; wait for an answer of each, for the clock, or for an abort.

The clock decides, not the messages: the wait wakes at the round's deadline and at the end of each absent
client's grace, whether or not anything arrives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fedn.combiner.phases import Phase
from fedn.combiner.phases.fold import Fold
from fedn.combiner.phases.publish import Publish
from fedn.combiner.round import Answer, Round
from fedn.combiner.tools import Tools
from fedn.errors import ClientLost
from fedn.wire.v1 import combiner_pb2 as pb

REPORT_S = 5.0  # or a fifth of a short round: a script that hangs is stopped so early that its client can still report


@dataclass
class Collect:
    """Dispatch and wait."""

    round: Round
    tools: Tools
    name: str = "collect"

    async def run(self) -> Phase | None:
        """Return Fold when there is something to fold, else Publish."""
        round_, order = self.round, self.round.order
        started = self.tools.clock()
        round_.deadline = started + order.round_timeout_s
        for client_id in round_.open_clients:
            self.tools.roster.give(client_id, task_for(round_, client_id, order.round_timeout_s))
        wake_at, seen = started, -1
        while round_.open_clients and round_.aborted is None:
            if seen != self.tools.roster.changes or self.tools.clock() >= wake_at:  # not after each of 1,000 answers
                seen = self.tools.roster.changes
                wake_at = min([round_.deadline, *self._give_up_on_absent(started)])
            if self.tools.clock() >= round_.deadline or not round_.open_clients:
                break
            await self._wait(wake_at - self.tools.clock())
        await self._close()
        if round_.aborted is not None:
            raise round_.aborted
        return Fold(round_, self.tools) if order.kind == "train" and round_.accepted() else Publish(round_, self.tools)

    def _give_up_on_absent(self, started: float) -> list[float]:
        """Settle who has been away for longer than the grace; return when to look again for the others."""
        again = []
        for client_id in self.round.open_clients:
            gone_at = self.tools.roster.gone_since(client_id)
            if gone_at is None:
                continue
            patience_ends = max(gone_at, started) + self.tools.reconnect_grace_s
            if self.tools.clock() >= patience_ends:
                self.round.settle(
                    Answer.failed(client_id, ClientLost("the client went away and did not come back in time"))
                )
            else:
                again.append(patience_ends)
        return again

    async def _wait(self, seconds: float) -> None:
        """Until something changes in the round or the roster, or `seconds` have passed."""
        beats = [self.round.changed.next(), self.tools.roster.changed.next()]
        await asyncio.wait(beats, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)

    async def _close(self) -> None:
        waiting_for = self.round.open_clients
        await self.round.close()
        if self.round.goes_on:
            return
        for client_id in self.round.order.participants:
            task_id = task_id_of(self.round, client_id)
            if client_id in waiting_for:
                self.tools.roster.cancel(client_id, task_id, "the round has ended")
            else:
                self.tools.roster.forget_task(client_id, task_id)


def task_id_of(round_: Round, client_id: str) -> str:
    """The id of a client's task in a round; the same after a restart."""
    return f"{round_.order.round_id}.{client_id}"


def task_for(round_: Round, client_id: str, left_s: float) -> pb.RunTask:
    """The command for one participant, when so much of the round is left."""
    order = round_.order
    wire = round_.wire_model
    kinds = {"train": pb.TASK_KIND_TRAIN, "validate": pb.TASK_KIND_VALIDATE, "predict": pb.TASK_KIND_PREDICT}
    return pb.RunTask(
        task_id=task_id_of(round_, client_id),
        round_id=order.round_id,
        kind=kinds[order.kind],
        model=order.model,
        model_size=order.model_size,
        package=order.package,
        package_size=order.package_size,
        seed=order.participants[client_id].seed,
        session_seed=order.session_seed,
        round=order.round,
        session_id=order.session_id,
        time_limit_s=left_s - min(REPORT_S, left_s / 5),
        settings=order.settings,
        client_settings=order.participants[client_id].settings,
        encodings=order.encodings,
        wire_model=wire.digest if wire is not None else "",
        wire_model_size=wire.size if wire is not None else 0,
        native=wire.native if wire is not None else (),
        content=round_.content,
    )
