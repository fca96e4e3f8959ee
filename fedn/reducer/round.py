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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.errors import AlreadyExists, FednError, QuorumNotMet, StaleTerm, StoreAway, VersionConflict
from fedn.model.safetensors import open_model
from fedn.reducer.answers import Outcomes, check_outcome, client_lines, receipt_line, troubles, weighted_metrics
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.conduct import GIVE_UP_S, Patience, conduct, fetch
from fedn.reducer.desk import Desk
from fedn.reducer.network import Network
from fedn.reducer.plan import Plan
from fedn.reducer.prediction_blobs import keep_predictions, predictions_path
from fedn.reducer.trail import Commit
from fedn.trail.records import receipt_bytes
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

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
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._desk = desk
        self._network = network
        self._plan = plan
        self._fresh = fresh
        self._give_up_s = give_up_s
        self._stores = desk.stores
        self._patiences: list[Patience] = []
        self._lines: list[dict[str, Any]] = []
        self._document: dict[str, Any] | None = None  # as we wrote it last, None when that is not known

    async def run(self) -> Result:
        """Carry the round out. Raises RoundFailed with a reason, or StaleTerm when another leads.

        Who leads no more, or is stopped, leaves the round as it is: the next leader goes on with it. While a store is
        away the round waits; StoreAway is raised when that lasts too long.
        """
        plan, began = self._plan, time.monotonic()
        await self._stores.do(self._open_document)
        outcomes: Outcomes = {}
        try:
            outcomes = await self._conduct()
            self._lines = client_lines(plan.participants, outcomes)
            self._check_quorum(outcomes)
            model = await self._commit(outcomes) if plan.kind == "train" else plan.model
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

    async def _conduct(self) -> Outcomes:
        """Every combiner's outcome."""
        plan = self._plan
        digests = (plan.model, plan.package)
        files = await self._stores.do(lambda: {d: self._desk.local(d) for d in digests})
        sizes = {d: path.stat().st_size for d, path in files.items()}
        combiners = plan.combiners()
        parts = [asyncio.create_task(self._part(c, plan.request(c, sizes), files)) for c in combiners]
        try:
            outcomes = await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()
        return dict(zip(combiners, outcomes, strict=True))

    async def _part(
        self, combiner: str, request: control.StartRoundRequest, files: Mapping[str, Path]
    ) -> control.RoundOutcome:
        """One combiner's outcome, its model fetched. Who fails or stays away is left out, its clients are missing."""
        plan, desk = self._plan, self._desk
        try:
            outcome = await conduct(self._find, combiner, request, files, self._patience())
            check_outcome(outcome, {p.client_id for p in request.participants}, kind=plan.kind)
            if plan.kind == "predict":
                await self._keep_predictions(combiner, outcome)
            if outcome.sum and not await asyncio.to_thread(desk.has, outcome.sum):
                out = desk.scratch / outcome.sum
                await fetch(self._find, combiner, outcome.sum, outcome.sum_size, out, self._patience())
        except (StaleTerm, StoreAway):
            raise
        except FednError as error:
            log.warning("round %s goes on without combiner %s: %s", plan.round_id, combiner, error)
            return control.RoundOutcome(code=error.code, reason=error.reason)
        return outcome

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
        self._patiences.append(Patience(self._give_up_s))
        return self._patiences[-1]

    def _check_quorum(self, outcomes: Outcomes) -> None:
        required = self._plan.config.clients_required
        answered = sum(line["status"] == "accepted" for line in self._lines)
        if answered < required:
            raise QuorumNotMet(f"{answered} of {required} required answers came ({troubles(self._lines, outcomes)})")

    async def _commit(self, outcomes: Outcomes) -> str:
        model = await self._stores.do(self._reduce, outcomes)
        return await self._stores.do(self._record, outcomes, model)

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

    def _record(self, outcomes: Outcomes, digest: str) -> str:
        """Blob, receipt, record; done twice, it gives the one record."""
        plan, desk = self._plan, self._desk
        if not self._fresh():
            raise StaleTerm("the lease ran out before the round could be committed")
        folded = {name: o for name, o in outcomes.items() if o.sum}
        desk.blobs.put(desk.scratch / digest, digest)
        receipt = receipt_bytes(plan.round_id, [receipt_line(line) for line in self._lines if line["update"]])
        receipt_digest = hashlib.sha256(receipt).hexdigest()
        desk.store(receipt, receipt_digest)
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
        self._note(self._found(outcomes))
        record = desk.trail.append(commit)
        desk.tidy(keep={record["model"], plan.package})
        return str(record["model"])

    async def _end(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        """Close the round's document and tell the combiners; neither waits for the other."""
        close = self._stores.do_at_last(self._close_document, status, began, outcomes, **more)
        await asyncio.gather(close, self._tell_end(committed=status == "committed"))

    def _close_document(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        final = {"status": status, "seconds": time.monotonic() - began, "ended": time.time()}
        self._note(self._found(outcomes) | final | more)

    def _found(self, outcomes: Outcomes) -> dict[str, Any]:
        """What is known of the round. It is noted before the commit: a crash after it must not lose it."""
        refused: Counter[str] = Counter()
        for outcome in outcomes.values():
            refused.update(dict(outcome.refused))
        metrics, num_examples = weighted_metrics(self._lines)
        return {"clients": self._lines, "refused": dict(refused), "metrics": metrics, "num_examples": num_examples}

    def _note(self, found: Mapping[str, Any]) -> None:
        """Add to the round's document: to the version that we wrote last, or to what it has become since."""
        before, self._document = self._document, None
        before = before or self._desk.state.get("rounds", self._plan.round_id)
        if before is not None:
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
        for patience in self._patiences:
            patience.end()
        await self._tell_all(lambda link: link.abort(plan.term, plan.round_id, reason))

    async def _tell_all(self, tell: Callable[[CombinerLink], Awaitable[None]]) -> list[BaseException | None]:
        async def one(combiner: str) -> None:
            await tell(await self._network.find(combiner, known=True))

        return await asyncio.gather(*(one(c) for c in self._plan.combiners()), return_exceptions=True)
