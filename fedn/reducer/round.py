"""One round at the reducer.

::

    plan ─▶ round document ─▶ conduct at every combiner ─▶ quorum? ─▶ mean ─▶ blob ─▶ trail record ─▶ tell the combiners
                                                              │ no
                                                              └─▶ failed, with each client's reason

The trail record is the commit. Everything before it can be done again with the same result: the round's id,
assignment and seeds are in the round document, and combiners keep what they accepted until they are told.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.errors import AlreadyExists, FednError, NotFound, QuorumNotMet, RoundFailed, StaleTerm, VersionConflict
from fedn.model.safetensors import open_model
from fedn.reducer.answers import (
    Outcomes,
    check_outcome,
    client_lines,
    phase_seconds,
    receipt_line,
    troubles,
    weighted_metrics,
)
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.conduct import Patience, conduct, fetch
from fedn.reducer.desk import Desk
from fedn.reducer.network import Network
from fedn.reducer.parts import Parts
from fedn.reducer.plan import Plan
from fedn.reducer.prediction_blobs import keep_predictions, predictions_path
from fedn.reducer.trail import Commit
from fedn.trail.records import receipt_bytes
from fedn.wire import inline
from fedn.wire.threads import all_done, to_the_end
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

MOST_FOLDS = 4  # of one part of a round, at a combiner that dies each time before its sum was fetched
SPREAD_S = 2.0  # a combiner that takes the next model slowly goes on with it in the next round
AGGREGATOR = {"name": "fedavg", "weighting": "num_examples"}


@dataclass(frozen=True)
class Result:
    """A round that went well: for train, the committed model; for validate, the metrics; for predict, neither."""

    model: str
    metrics: Mapping[str, float]
    num_examples: int


class RoundRun:
    """Runs one plan to its end."""

    def __init__(
        self,
        desk: Desk,
        network: Network,
        plan: Plan,
        *,
        fresh: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._network = network
        self._fresh = fresh
        self._grace_s = desk.settings.combiner_grace_s
        self._stores = desk.stores
        self._parts = Parts(
            plan,
            self._part,
            survey=lambda: self._stores.ask(network.survey),
            save=lambda plan: self._stores.do(self._note, plan.assignment()),
            grace_s=self._grace_s,
        )
        self._patiences: list[Patience] = []
        self._fetching: dict[str, asyncio.Lock] = {}
        self._files: Mapping[str, Path] = {}
        self._lines: list[dict[str, Any]] = []
        self._phase_s: dict[str, float] = {}  # the reducer's own
        self._document: dict[str, Any] | None = None  # as we wrote it last, None when that is not known

    @property
    def _plan(self) -> Plan:
        """What the round is to do, with the assignment as it is now."""
        return self._parts.plan

    async def run(self) -> Result:
        """Carry the round out. Raises RoundFailed with a reason, or StaleTerm when another leads.

        Who leads no more, or is stopped, leaves the round as it is: the next leader goes on with it. While a store is
        away the round waits; StoreAway is raised when that lasts too long.
        """
        began = time.monotonic()
        await self._stores.do(self._open_document)
        outcomes: Outcomes = {}
        try:
            self._files = await self._stores.do(self._fetch_files)
            outcomes = await self._parts.run()
            self._lines = client_lines(self._plan.participants, outcomes)
            self._check_quorum(outcomes)
            model = await self._commit(outcomes) if self._plan.kind == "train" else self._plan.model
        except StaleTerm:
            raise
        except FednError as error:
            await self._end("failed", began, outcomes, code=error.code, reason=error.reason)
            raise
        await self._end("committed", began, outcomes, model=model)
        metrics, num_examples = weighted_metrics(self._lines)
        log.info("%s", self._summary(model, metrics))
        return Result(model, metrics, num_examples)

    def _summary(self, model: str, metrics: Mapping[str, float]) -> str:
        answers = sum(line["status"] == "accepted" for line in self._lines)
        measured = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        what = {"train": f"model {model[:12]}", "validate": "validated", "predict": "predicted"}[self._plan.kind]
        return f"round {self._plan.round_id}: {answers} answers, {what}" + (f", {measured}" if measured else "")

    def _open_document(self) -> None:
        try:
            self._document = self._desk.state.insert("rounds", self._plan.document())
        except AlreadyExists:
            log.info("round %s goes on after a change of leader", self._plan.round_id)
            self._note({"term": self._plan.term})
            status = (self._document or {}).get("status", "started")
            if status != "started":
                raise RoundFailed(f"the former leader has closed round {self._plan.round_id} as {status}") from None
            # The former leader may have moved clients since its assignment was read; from here on it cannot.
            self._parts.go_on_with(replace(self._plan, **Plan.assignment_of(self._document or {})))

    def _fetch_files(self) -> dict[str, Path]:
        return {digest: self._desk.local(digest) for digest in (self._plan.model, self._plan.package)}

    async def _part(self, plan: Plan, combiner: str) -> control.RoundOutcome:
        """One combiner's outcome, its model fetched."""
        sizes = {d: path.stat().st_size for d, path in self._files.items()}

        def order() -> control.StartRoundRequest:
            return plan.request(combiner, sizes, left_s=self._parts.left_s)

        for left in reversed(range(MOST_FOLDS)):
            outcome = await conduct(self._find, combiner, order, self._files, self._patience())
            check_outcome(outcome, {p.client_id for p in order().participants}, kind=plan.kind)
            if plan.kind == "predict":
                await self._keep_predictions(combiner, outcome)
            if not outcome.sum:
                break
            try:
                async with self._fetching.setdefault(outcome.sum, asyncio.Lock()):  # two combiners may have equal sums
                    await self._fetch_sum(combiner, outcome)
                break
            except NotFound:
                if not left:
                    raise
                log.warning("combiner %s has lost what it folded; it folds again", combiner)  # it was started again
        return outcome

    async def _fetch_sum(self, combiner: str, outcome: control.RoundOutcome) -> None:
        out = self._desk.scratch / outcome.sum
        if outcome.sum_content:
            await to_the_end(lambda: inline.to_file(outcome.sum_content, outcome.sum, out))
        elif not await asyncio.to_thread(self._desk.has, outcome.sum):
            await to_the_end(self._desk.make_room)
            await fetch(self._find, combiner, outcome.sum, outcome.sum_size, out, self._patience())

    async def _keep_predictions(self, combiner: str, outcome: control.RoundOutcome) -> None:
        """One client's after the other: neither memory nor scratch folder grows with their number."""
        for answer in outcome.clients:
            if answer.status == "accepted":
                path = predictions_path(self._desk, self._plan.round_id, combiner, answer)
                await fetch(self._find, combiner, answer.update, answer.size, path, self._patience())
                await self._stores.do(keep_predictions, self._desk, answer.update, path)
                path.unlink(missing_ok=True)

    async def _find(self, combiner: str, known: bool) -> CombinerLink:
        return await self._stores.ask(self._network.find, combiner, known=known)

    def _patience(self) -> Patience:
        self._patiences.append(Patience(self._grace_s))
        return self._patiences[-1]

    def _check_quorum(self, outcomes: Outcomes) -> None:
        required = self._plan.config.clients_required
        answered = sum(line["status"] == "accepted" for line in self._lines)
        if answered < required:
            raise QuorumNotMet(f"{answered} of {required} required answers came ({troubles(self._lines, outcomes)})")

    async def _commit(self, outcomes: Outcomes) -> str:
        with self._timed("reduce"):
            model = await self._stores.do(self._reduce, outcomes)
        with self._timed("commit"):
            return await self._record_and_spread(outcomes, model)

    async def _record_and_spread(self, outcomes: Outcomes, model: str) -> str:
        spreading = asyncio.create_task(self._spread(model))
        try:
            committed = await self._record(outcomes, model)
            await asyncio.wait([spreading], timeout=SPREAD_S)
        finally:
            spreading.cancel()
            await asyncio.gather(spreading, return_exceptions=True)
        return committed

    async def _spread(self, model: str) -> None:
        """Give the combiners the model that is worked with next, while it is recorded.

        Best effort, tried once: the next round gives it to whoever lacks it, from where this came to.
        """
        path = self._desk.scratch / model
        if self._plan.is_followed and path.stat().st_size > inline.MOST_BYTES:  # a small one goes with the next order
            problems = await self._tell_all(lambda link: link.give(path, model, lambda _: None))
            log.debug("model %s was given to %d combiners", model[:12], problems.count(None))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._phase_s[phase] = time.monotonic() - began

    def _reduce(self, outcomes: Outcomes) -> str:
        """The mean of all updates under all combiners, divided and rounded once; into the scratch folder."""
        plan, desk = self._plan, self._desk
        folded = {name: o for name, o in outcomes.items() if o.sum}
        schema = open_model(desk.local(plan.model)).schema
        sums = [open_sum(desk.scratch / folded[name].sum, schema) for name in sorted(folded)]
        out = desk.scratch / f"{plan.round_id}.model"
        digest = mean(sums, weight=sum(o.weight for o in folded.values()), schema=schema, out=out)
        desk.adopt(out, digest)
        return digest

    async def _record(self, outcomes: Outcomes, digest: str) -> str:
        """Blob, receipt and what was found, side by side; then the record. Done twice, it gives the one record."""
        plan, desk, stores = self._plan, self._desk, self._stores
        await stores.do(self._check_fresh)
        receipt = receipt_bytes(plan.round_id, [receipt_line(line) for line in self._lines if line["update"]])
        receipt_digest = hashlib.sha256(receipt).hexdigest()
        await all_done(
            stores.do(desk.blobs.put, desk.scratch / digest, digest),
            stores.do(desk.store, receipt, receipt_digest),
            stores.do(self._note, self._found(outcomes)),
        )
        folded = {name: o for name, o in outcomes.items() if o.sum}
        commit = Commit(
            session=plan.session,
            round=plan.round,
            parent=plan.model,
            model=digest,
            combiners=[{"combiner": n, "model": folded[n].sum, "weight": folded[n].weight} for n in sorted(folded)],
            receipt=receipt_digest,
            aggregator=AGGREGATOR,
            time=time.time(),
        )
        record = await stores.do(desk.trail.append, commit, may_write=self._check_fresh)
        return str(record["model"])

    def _check_fresh(self) -> None:
        if not self._fresh():
            raise StaleTerm("the lease ran out before the round could be committed")

    async def _end(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        """Close the round's document and tell the combiners.

        A commit is told at once. That a round has failed is told when its document says so: it may be another leader's.
        """
        close = self._stores.do_at_last(self._close_document, status, began, outcomes, **more)
        if status == "committed":
            keep = {more["model"], self._plan.package}
            await all_done(close, self._tell_end(committed=True), to_the_end(lambda: self._desk.tidy(keep)))
        else:
            await close
            await self._tell_end(committed=False)

    def _close_document(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        final = {"status": status, "seconds": time.monotonic() - began, "ended": time.time()}
        self._note(self._found(outcomes) | final | more)

    def _found(self, outcomes: Outcomes) -> dict[str, Any]:
        """What is known of the round. It is noted before the commit: a crash after it must not lose it."""
        refused: Counter[str] = Counter()
        for outcome in outcomes.values():
            refused.update(dict(outcome.refused))
        metrics, num_examples = weighted_metrics(self._lines)
        return {
            "clients": self._lines,
            "refused": dict(refused),
            "metrics": metrics,
            "num_examples": num_examples,
            "phases": phase_seconds(outcomes) | self._phase_s,
        }

    def _note(self, found: Mapping[str, Any]) -> None:
        """Add to the round's document: to the version that we wrote last, or to what it has become since.

        Raises StaleTerm when a newer leader has taken the round up: what we know of it may be outdated.
        """
        before, self._document = self._document, None
        before = before or self._desk.state.get("rounds", self._plan.round_id)
        if before is not None:
            if before.get("term", 0) > self._plan.term:
                raise StaleTerm(f"round {self._plan.round_id} is in the hands of the leader of term {before['term']}")
            try:
                self._document = self._desk.state.replace("rounds", before | dict(found))
            except VersionConflict:
                self._note(found)

    async def _tell_end(self, *, committed: bool) -> None:
        """Best effort: a combiner that misses it ends the round when its next one starts."""
        plan = self._plan
        for problem in await self._tell_all(lambda link: link.end(plan.term, plan.round_id, committed=committed)):
            if isinstance(problem, FednError):
                log.warning("ending round %s: %s", plan.round_id, problem)
            elif isinstance(problem, BaseException):
                raise problem

    async def abort(self, reason: str) -> None:
        """Ask the combiners to stop collecting; the round then fails with this reason. Wait for none that is away."""
        plan = self._plan
        self._parts.stop()
        for patience in self._patiences:
            patience.end()
        await self._tell_all(lambda link: link.abort(plan.term, plan.round_id, reason))

    async def _tell_all(self, tell: Callable[[CombinerLink], Awaitable[None]]) -> list[BaseException | None]:
        async def one(combiner: str) -> None:
            await tell(await self._network.find(combiner, known=True))

        return await asyncio.gather(*(one(c) for c in self._parts.told()), return_exceptions=True)
