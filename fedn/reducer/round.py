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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedn.aggregation.mean import mean
from fedn.aggregation.sums import open_sum
from fedn.errors import AlreadyExists, CombinerUnreachable, FednError, QuorumNotMet, StaleTerm
from fedn.model.safetensors import open_model
from fedn.reducer.desk import Desk
from fedn.reducer.network import Network
from fedn.reducer.participants import ConnectedClient, task_seed
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.trail import Commit, canonical_json, receipt_bytes
from fedn.wire.v1 import control_pb2 as control

log = logging.getLogger(__name__)

AGGREGATOR = {"name": "fedavg", "weighting": "num_examples"}

Outcomes = Mapping[str, control.RoundOutcome]


@dataclass(frozen=True)
class Plan:
    """What a round is to do, as its document holds it."""

    round_id: str
    session: str
    round: int
    kind: str  # train, validate
    model: str
    package: str
    participants: Sequence[ConnectedClient]
    addresses: Mapping[str, str]  # combiner → address
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
            "addresses": dict(self.addresses),
            "started": time.time(),
        }

    def request(self, combiner: str, sizes: Mapping[str, int]) -> control.StartRoundRequest:
        """The order for one combiner: its own clients only."""
        kinds = {"train": control.ROUND_KIND_TRAIN, "validate": control.ROUND_KIND_VALIDATE}
        chosen = [
            control.Participant(
                client_id=c.client_id,
                part=c.part,
                seed=task_seed(seed=self.config.seed, round_number=self.round, part=c.part),
            )
            for c in self.participants
            if c.combiner == combiner
        ]
        return control.StartRoundRequest(
            term=self.term,
            round_id=self.round_id,
            session_id=self.session,
            round=self.round,
            kind=kinds[self.kind],
            model=self.model,
            model_size=sizes[self.model],
            package=self.package,
            package_size=sizes[self.package],
            participants=chosen,
            round_timeout_s=self.config.round_timeout,
            session_seed=self.config.seed,
            settings=canonical_json(self.config.settings).decode(),
        )


@dataclass(frozen=True)
class Result:
    """A round that went well: for train, the committed model; for validate, the metrics."""

    model: str
    metrics: Mapping[str, float]
    num_examples: int


class RoundRun:
    """Runs one plan to its end."""

    def __init__(self, desk: Desk, network: Network, plan: Plan, *, fresh: Callable[[], bool]) -> None:
        self._desk = desk
        self._network = network
        self._plan = plan
        self._fresh = fresh
        self._lines: list[dict[str, Any]] = []

    async def run(self) -> Result:
        """Carry the round out. Raises RoundFailed with a reason, or StaleTerm when another leads.

        Who leads no more, or is stopped, leaves the round as it is: the next leader goes on with it.
        """
        plan, began = self._plan, time.monotonic()
        await asyncio.to_thread(self._open_document)
        outcomes: Outcomes = {}
        try:
            outcomes = await self._conduct()
            self._lines = client_lines(plan, outcomes)
            self._check_quorum(outcomes)
            model = await self._commit(outcomes) if plan.kind == "train" else plan.model
        except StaleTerm:
            raise
        except FednError as error:
            await self._end("failed", began, outcomes, code=error.code, reason=error.reason)
            raise
        metrics, num_examples = weighted_metrics(self._lines)
        found = {"model": model, "metrics": metrics, "num_examples": num_examples}
        await self._end("committed", began, outcomes, **found)
        log.info("%s", self._summary(model, metrics))
        return Result(model, metrics, num_examples)

    def _summary(self, model: str, metrics: Mapping[str, float]) -> str:
        answers = sum(line["status"] == "accepted" for line in self._lines)
        measured = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        what = f"model {model[:12]}" if self._plan.kind == "train" else "validated"
        return f"round {self._plan.round_id}: {answers} answers, {what}" + (f", {measured}" if measured else "")

    def _open_document(self) -> None:
        try:
            self._desk.state.insert("rounds", self._plan.document())
        except AlreadyExists:
            log.info("round %s goes on after a change of leader", self._plan.round_id)

    async def _conduct(self) -> Outcomes:
        """Every combiner's outcome; one that stays away is left out, and its clients are missing."""
        plan = self._plan
        digests = (plan.model, plan.package)
        files = await asyncio.to_thread(lambda: {d: self._desk.local(d) for d in digests})
        sizes = {d: path.stat().st_size for d, path in files.items()}
        combiners = sorted({c.combiner for c in plan.participants})

        async def one(combiner: str) -> control.RoundOutcome:
            link = self._network.link(plan.addresses[combiner])
            try:
                return await link.conduct(plan.request(combiner, sizes), files)
            except CombinerUnreachable as error:
                log.warning("round %s goes on without combiner %s: %s", plan.round_id, combiner, error)
                return control.RoundOutcome(code=error.code, reason=error.reason)

        outcomes = await asyncio.gather(*(one(c) for c in combiners))
        return dict(zip(combiners, outcomes, strict=True))

    def _check_quorum(self, outcomes: Outcomes) -> None:
        required = self._plan.config.clients_required
        answered = sum(line["status"] == "accepted" for line in self._lines)
        if answered < required:
            troubles = Counter(line["code"] for line in self._lines if line["code"])
            troubles.update(o.code for o in outcomes.values() if o.code)
            why = ", ".join(f"{count} × {code}" for code, count in sorted(troubles.items())) or "none was sent"
            raise QuorumNotMet(f"{answered} of {required} required answers came ({why})")

    async def _commit(self, outcomes: Outcomes) -> str:
        plan, desk = self._plan, self._desk
        folded = {name: o for name, o in outcomes.items() if o.sum}
        missing = {o.sum: (name, o.sum_size) for name, o in folded.items() if not (desk.scratch / o.sum).exists()}
        fetches = (
            self._network.link(plan.addresses[name]).fetch(digest, size, desk.scratch / digest)
            for digest, (name, size) in missing.items()
        )
        await asyncio.gather(*fetches)
        if not self._fresh():
            raise StaleTerm("the lease ran out before the round could be committed")
        return await asyncio.to_thread(self._reduce, folded)

    def _reduce(self, folded: Outcomes) -> str:
        """The mean of all updates under all combiners, divided and rounded once; then blob, receipt, record."""
        plan, desk = self._plan, self._desk
        schema = open_model(desk.local(plan.model)).schema
        sums = [open_sum(desk.scratch / folded[name].sum, schema) for name in sorted(folded)]
        out = desk.scratch / f"{plan.round_id}.model"
        digest = mean(sums, weight=sum(o.weight for o in folded.values()), schema=schema, out=out)
        desk.blobs.put(out, digest)
        out.replace(desk.scratch / digest)
        receipt = receipt_bytes(plan.round_id, [receipt_line(line) for line in self._lines if line["update"]])
        receipt_digest = hashlib.sha256(receipt).hexdigest()
        desk.store(receipt, receipt_digest)
        commit = Commit(
            session=plan.session,
            round=plan.round,
            model=digest,
            combiners=[{"combiner": n, "model": folded[n].sum, "weight": folded[n].weight} for n in sorted(folded)],
            receipt=receipt_digest,
            aggregator=AGGREGATOR,
            time=time.time(),
        )
        record = desk.trail.append(commit)
        desk.tidy(keep={record["model"], plan.package})
        return str(record["model"])

    async def _end(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        """Close the round's document and tell the combiners; neither waits for the other."""
        close = asyncio.to_thread(self._close_document, status, began, outcomes, **more)
        await asyncio.gather(close, self._tell_end(committed=status == "committed"))

    def _close_document(self, status: str, began: float, outcomes: Outcomes, **more: Any) -> None:
        refused: Counter[str] = Counter()
        for outcome in outcomes.values():
            refused.update(dict(outcome.refused))
        final = {
            "status": status,
            "seconds": time.monotonic() - began,
            "clients": self._lines,
            "refused": dict(refused),
            "ended": time.time(),
        }
        before = self._desk.state.get("rounds", self._plan.round_id)
        if before is not None:
            self._desk.state.replace("rounds", before | final | more)

    async def _tell_end(self, *, committed: bool) -> None:
        """Best effort: a combiner that misses it sweeps when its next round starts."""
        plan = self._plan
        combiners = {c.combiner for c in plan.participants}
        ends = (
            self._network.link(plan.addresses[c]).end(plan.term, plan.round_id, committed=committed) for c in combiners
        )
        for problem in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(problem, FednError):
                log.warning("ending round %s: %s", plan.round_id, problem)
            elif isinstance(problem, BaseException):
                raise problem

    async def abort(self, reason: str) -> None:
        """Ask the combiners to stop collecting; the round then fails with this reason."""
        plan = self._plan
        combiners = {c.combiner for c in plan.participants}
        aborts = (self._network.link(plan.addresses[c]).abort(plan.term, plan.round_id, reason) for c in combiners)
        await asyncio.gather(*aborts, return_exceptions=True)


def client_lines(plan: Plan, outcomes: Outcomes) -> list[dict[str, Any]]:
    """One line per participant, by part: what it was asked, what came of it."""
    answers = {a.client_id: a for o in outcomes.values() for a in o.clients}
    lines = []
    for client in plan.participants:
        answer = answers.get(client.client_id)
        outcome = outcomes[client.combiner]
        if answer is None:
            reason = outcome.reason or "the combiner did not say"
            answer = control.ClientOutcome(status="missing", code=outcome.code or "client_lost", reason=reason)
        lines.append(
            {
                "client_id": client.client_id,
                "name": client.name,
                "part": client.part,
                "combiner": client.combiner,
                "status": answer.status,
                "code": answer.code,
                "reason": answer.reason,
                "stderr_tail": answer.stderr_tail[-4096:],
                "update": answer.update,
                "num_examples": answer.num_examples,
                "metrics": dict(answer.metrics),
                "seconds": answer.seconds,
            }
        )
    return lines


def receipt_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """A client's line as the receipt lists it."""
    return {
        "client": line["client_id"],
        "combiner": line["combiner"],
        "update": line["update"],
        "num_examples": line["num_examples"],
    }


def weighted_metrics(lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], int]:
    """Each metric's mean over the clients that reported it, weighted by their examples; and all examples."""
    accepted = [line for line in lines if line["status"] == "accepted"]
    means = {}
    for name in sorted({name for line in accepted for name in line["metrics"]}):
        of = [line for line in accepted if name in line["metrics"]]
        weight = sum(line["num_examples"] for line in of)
        means[name] = sum(line["metrics"][name] * line["num_examples"] for line in of) / weight
    return means, sum(line["num_examples"] for line in accepted)
