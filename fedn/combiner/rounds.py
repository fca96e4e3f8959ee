"""The rounds of this combiner: started by the reducer, driven here, ended by the reducer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque

from fedn.combiner.phases import drive
from fedn.combiner.phases.collect import task_for
from fedn.combiner.phases.stage import Stage
from fedn.combiner.round import Order, Round, WireModel
from fedn.combiner.tools import Tools
from fedn.errors import CombinerDraining, FednError, RoundFailed, StaleTerm, UnknownRound
from fedn.wire.v1 import combiner_pb2 as pb

log = logging.getLogger(__name__)

OVER = 16  # rounds that were ended here are remembered, to tell who comes late from who comes too early


class Rounds:
    """Rounds by id. Every change of the reducer's carries its term; a lower one is refused (fencing)."""

    def __init__(self, tools: Tools, *, term: int) -> None:
        self._tools = tools
        self._rounds: dict[str, Round] = {}
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._term = term
        self._fencing = asyncio.Lock()
        self._ended = asyncio.Event()
        self._wire_models: dict[tuple[str, str], WireModel] = {}  # of the round that was ended last
        self._over: deque[str] = deque(maxlen=OVER)
        self.draining = False

    def known(self) -> list[Round]:
        """Rounds that the reducer has not ended yet."""
        return list(self._rounds.values())

    def running(self) -> list[Round]:
        """Rounds without an outcome yet."""
        return [r for r in self._rounds.values() if r.outcome is None]

    def get(self, round_id: str) -> Round:
        """The round, or UnknownRound."""
        try:
            return self._rounds[round_id]
        except KeyError:
            raise UnknownRound(f"round {round_id!r} is not known to this combiner") from None

    def is_over(self, round_id: str) -> bool:
        """True for a round that was ended here not long ago."""
        return round_id in self._over and round_id not in self._rounds

    async def fence(self, term: int) -> None:
        """Refuse a leader that was replaced; remember the newest, also over a restart."""
        async with self._fencing:  # a term that is being noted is in force, and none overtakes it
            if term < self._term:
                raise StaleTerm(f"term {term} is over; the newest leader's is {self._term}")
            if term > self._term:
                await asyncio.to_thread(self._tools.journal.keep_term, term)
                self._term = term

    def check_takes(self, order: Order) -> None:
        """Once this combiner stops, raise CombinerDraining for what is not known here: round, or epoch."""
        known = self._rounds.get(order.round_id)
        if self.draining and (known is None or order.epoch > known.order.epoch):
            raise CombinerDraining("this combiner is draining and takes no new round")

    def start(self, order: Order) -> None:
        """Begin the round, or go on with it when it is known (idempotent). No wait here: a known round has a driver.

        A known round with a lower epoch makes room for one with these participants. Raises CombinerDraining.
        """
        known, driver = self._rounds.get(order.round_id), self._drivers.get(order.round_id)
        if known is not None and order.epoch <= known.order.epoch:
            return
        self.check_takes(order)
        others = [round_id for round_id in self._rounds if round_id != order.round_id]
        round_ = self._rounds[order.round_id] = Round(order, known, clock=self._tools.clock)
        round_.wire_model = self._wire_models.get((order.model, order.encoding.dtype))
        what = (order.round_id, order.kind, len(order.participants), order.epoch)
        log.info("round %s: %s with %d clients, epoch %d", *what)

        async def make_room() -> None:
            if known is not None and driver is not None:
                await known.retire()
                await asyncio.wait([driver])
            for other in others:  # whose end the leader could not tell
                await self.end(other, committed=False)

        stage = Stage(round_, self._tools, make_room, self._sweep)
        self._drivers[order.round_id] = asyncio.create_task(drive(round_, stage))

    async def end(self, round_id: str, *, committed: bool) -> None:
        """The reducer is done with the round: tell its clients, forget it. Unknown rounds are fine."""
        round_ = self._rounds.pop(round_id, None)
        driver = self._drivers.pop(round_id, None)
        if round_ is not None and round_.wire_model is not None:  # the next trains from what this one has validated
            self._wire_models = {(round_.order.model, round_.order.encoding.dtype): round_.wire_model}
        if round_ is not None and driver is not None:
            round_.abort(RoundFailed("the reducer ended the round"))
            await asyncio.wait([driver])  # awaited itself, it would be cancelled with a caller who hangs up
            for client_id in round_.order.participants:
                ended = pb.RoundEnded(round_id=round_id, committed=committed)
                self._tools.roster.tell(client_id, pb.CombinerCommand(ended=ended))
        self._over.append(round_id)
        self._ended.set()

    async def drain(self, patience_s: float) -> None:
        """Take no new round; wait until the reducer has ended those that are here, but not for longer than this.

        What runs then is handed back: its outcome says so, and the reducer gives its clients to other combiners.
        """
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._rounds:
                    self._ended.clear()
                    await self._ended.wait()
        handed_back = CombinerDraining("this combiner was told to stop, and hands the round back")
        await self._end_here(self.running(), handed_back)

    async def _end_here(self, rounds: list[Round], why: FednError) -> None:
        for round_ in rounds:
            round_.abort(why)
        drivers = [self._drivers[round_.order.round_id] for round_ in rounds]
        if drivers:
            await asyncio.wait(drivers)

    async def stop(self) -> None:
        """Leave all rounds as they are; the journal keeps what was accepted."""
        for driver in self._drivers.values():
            driver.cancel()
        await asyncio.gather(*self._drivers.values(), return_exceptions=True)

    def greet(self, client_id: str) -> None:
        """A client attached: give it the task that it still owes, with the time that is left."""
        for round_ in self.running():
            if client_id in round_.order.participants and client_id not in round_.answers and round_.deadline:
                left = round_.deadline - self._tools.clock()
                if left > 0:
                    self._tools.roster.give(client_id, task_for(round_, client_id, left))

    def _sweep(self) -> None:
        """Retire what no round needs; in a thread, and before any client has its task."""
        self._tools.shelf.make_room()  # whatever the last round has retired, and not needed
        rounds = list(self._rounds.values())
        known = {round_.order.round_id for round_ in rounds}
        needed = {digest for round_ in rounds for digest in (round_.order.model, round_.order.package)}
        needed |= {round_.wire_model.digest for round_ in rounds if round_.wire_model is not None}
        needed |= self._tools.journal.needed()
        for digest in list(self._tools.shelf.digests()):
            if digest not in needed:
                self._tools.shelf.retire(digest)
        self._tools.shelf.drop_parts(needed)  # uploads of ended rounds that were cut short
        for folded in self._tools.scratch.glob("*.sum"):  # of one that could not be published
            if folded.stem not in known:
                folded.unlink(missing_ok=True)
