"""The parts of a round, one for each combiner, and what becomes of the clients of a combiner that is lost.

::

    running ──outcome──────────────────────────────────────────────▶ done
       │ unreachable for combiner_grace_s, or it hands back
       ▼
    lost: fenced, and its clients attach elsewhere ──epoch + 1, StartRound to where they are──▶ running
       │ nobody came within combiner_grace_s
       └──▶ its clients are missing

Only this moves a client within a round (I2): the assignment is in the round's document before a combiner hears of it,
the outcome of a combiner counts only while it has a part, and it names only the clients that it was given. What a
lost combiner accepted is sent again by its clients, which keep their updates until the round has ended (I1).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from fedn.errors import (
    CombinerDraining,
    CombinerUnreachable,
    FednError,
    StaleTerm,
    StoreAway,
    TransferFailed,
    Unavailable,
)
from fedn.reducer.answers import Outcomes
from fedn.reducer.moves import moves
from fedn.reducer.network import Seen
from fedn.reducer.plan import Plan
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

MOST_LOSSES = 3  # of one combiner in one round
LOOK_S = 0.25  # between looks for clients that have moved; only in a round that has lost a combiner

RunPart: TypeAlias = "Callable[[Plan, str], Awaitable[control.RoundOutcome]]"
GONE = (Unavailable, TransferFailed, CombinerDraining)  # the combiner, not what it has done


class Parts:
    """Runs a plan at its combiners. `plan` is the assignment as it is now."""

    def __init__(
        self,
        plan: Plan,
        run_part: RunPart,
        *,
        survey: Callable[[], Awaitable[Sequence[Seen]]],
        save: Callable[[Plan], Awaitable[None]],
        grace_s: float,
    ) -> None:
        self._run_part = run_part
        self._survey = survey
        self._save = save
        self._grace_s = grace_s
        self._clock = asyncio.get_running_loop().time
        self._ends = self._clock() + plan.config.round_timeout
        self._running: dict[str, asyncio.Task[control.RoundOutcome]] = {}
        self._begun: set[str] = set()
        self._found: Mapping[str, str] = {}
        self._stopped = False
        self.go_on_with(plan)

    def go_on_with(self, plan: Plan) -> None:
        """Take this for the assignment; before `run`."""
        self.plan = plan
        self._moving = bool(plan.lost)
        self._lost_at = dict.fromkeys(plan.lost, self._clock())
        self._losses = Counter(plan.lost)
        self._outcomes: dict[str, control.RoundOutcome] = {name: lost(name) for name in plan.lost}

    @property
    def left_s(self) -> float:
        """What is left of the round's time; a combiner needs some, or it would refuse what its clients have ready."""
        return max(1.0, self._ends - self._clock())

    def told(self) -> list[str]:
        """The combiners that may hold something of the round and are not lost."""
        return sorted(self._begun - self.plan.lost)

    def stop(self) -> None:
        """Move nobody any more: the round is aborted."""
        self._stopped = True

    async def run(self) -> Outcomes:
        """Every combiner's outcome, those of lost ones with a code. Raises StaleTerm, StoreAway."""
        try:
            for combiner in self.plan.combiners():
                self._begin(combiner)
            while self._running or self._seeks_homes():
                await self._wait()
                await self._collect()
                if self._moving and not self._stopped:
                    await self._move()
        finally:
            for part in self._running.values():
                part.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
        return self._outcomes

    def _begin(self, combiner: str) -> None:
        self._outcomes.pop(combiner, None)
        self._begun.add(combiner)
        self._running[combiner] = asyncio.create_task(self._part(combiner))

    async def _part(self, combiner: str) -> control.RoundOutcome:
        """One combiner's outcome. Raises what says that the combiner is gone; another failure is its outcome."""
        try:
            outcome = await self._run_part(self.plan, combiner)
        except (StaleTerm, StoreAway, *GONE):
            raise
        except FednError as error:
            log.warning("round %s goes on without combiner %s: %s", self.plan.round_id, combiner, error)
            return control.RoundOutcome(code=error.code, reason=error.reason)
        if outcome.code == CombinerDraining.code:
            raise CombinerDraining(outcome.reason)
        return outcome

    def _seeks_homes(self) -> bool:
        """True while clients of a lost combiner may still attach elsewhere, within the round's time."""
        seeking = any(self._has_time(client.combiner) for client in self.plan.homeless())
        return seeking and not self._stopped and self._clock() < self._ends

    def _has_time(self, combiner: str) -> bool:
        """One that comes and goes is not waited for without end."""
        in_time = self._clock() < self._lost_at[combiner] + self._grace_s
        return in_time and self._losses[combiner] <= MOST_LOSSES

    async def _wait(self) -> None:
        if not self._running:
            await asyncio.sleep(LOOK_S)
            return
        timeout = LOOK_S if self._moving else None
        await asyncio.wait(self._running.values(), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def _collect(self) -> None:
        for combiner in [name for name, part in self._running.items() if part.done()]:
            part = self._running.pop(combiner)
            try:
                self._outcomes[combiner] = part.result()
            except (StaleTerm, StoreAway):
                raise
            except GONE as error:
                await self._lose(combiner, error)

    async def _lose(self, combiner: str, error: FednError) -> None:
        """Fence the combiner; its clients are looked for elsewhere."""
        log.warning("round %s: combiner %s is lost: %s", self.plan.round_id, combiner, error)
        self._outcomes[combiner] = control.RoundOutcome(code=error.code, reason=error.reason)
        self._moving = True
        self._losses[combiner] += 1
        self._lost_at[combiner] = self._clock()
        await self._assign(self.plan.without(combiner, error))

    async def _move(self) -> None:
        """Give clients that are attached elsewhere to the combiner where they are."""
        found = moves(self.plan, await self._survey())
        for client in self.plan.homeless():
            if found.get(client.client_id) == client.combiner and not self._has_time(client.combiner):
                del found[client.client_id]
        if not found or (self._seeks_homes() and not self._settled(found)):
            return
        before = self.plan
        former = {c.combiner for c in before.participants if c.client_id in found} - before.lost
        changed = sorted(former | set(found.values()))
        for combiner in changed:
            await self._break_off(combiner)
        await self._assign(before.moved(found))
        log.info("round %s: %d clients move; epoch %d", before.round_id, len(found), self.plan.epoch)
        for combiner in changed:
            if combiner in self.plan.combiners():
                self._begin(combiner)

    def _settled(self, found: Mapping[str, str]) -> bool:
        """Whether to move now: all are found, or nobody new came since the last look. Each epoch costs all."""
        settled = found == self._found or len(found) >= len(self.plan.homeless())
        self._found = {} if settled else dict(found)
        return settled

    async def _break_off(self, combiner: str) -> None:
        """Wait for this part no more: the combiner is given another."""
        self._outcomes.pop(combiner, None)
        part = self._running.pop(combiner, None)
        if part is not None:
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)

    async def _assign(self, plan: Plan) -> None:
        await self._save(plan)
        self.plan = plan


def lost(combiner: str) -> control.RoundOutcome:
    """What a combiner has done that a former leader had fenced."""
    reason = f"combiner {combiner} was lost, and no combiner has its clients"
    return control.RoundOutcome(code=CombinerUnreachable.code, reason=reason)
