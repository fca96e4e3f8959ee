"""The end of a task comes in: check it, journal it, and only then give the receipt (I1, I2).

A refused update is counted under its code and ends the wait for its client; the round goes on.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from fedn.aggregation.fold import check_num_examples, check_update
from fedn.aggregation.ranges import Ranges
from fedn.combiner.group_commit import GroupCommit
from fedn.combiner.phases.collect import task_id_of
from fedn.combiner.round import Answer, Round
from fedn.combiner.rounds import Rounds
from fedn.combiner.tools import Tools
from fedn.errors import (
    BadInput,
    DiskFull,
    DuplicateUpdate,
    FednError,
    ModelTooLarge,
    NotAParticipant,
    NotFound,
    OutputInvalid,
    RoundClosed,
    SchemaMismatch,
    Unavailable,
    UpdateRefused,
    WrongBase,
    from_code,
)
from fedn.model.predictions import check_predictions, check_size
from fedn.model.safetensors import open_model
from fedn.model.schema import Schema
from fedn.wire import inline
from fedn.wire.threads import to_the_end
from fedn.wire.v1 import blobs_pb2 as blobs
from fedn.wire.v1 import combiner_pb2 as pb

T = TypeVar("T")
STDERR_TAIL_CHARS = 64 * 1024
REASON_CHARS = 2048


class Intake:
    """Accepts and refuses what clients send."""

    def __init__(self, tools: Tools, rounds: Rounds, *, max_model_bytes: int) -> None:
        self._tools = tools
        self._rounds = rounds
        self._max_model_bytes = max_model_bytes
        self.late = 0  # results that came after their round had closed
        self._accepted = GroupCommit(tools.journal)
        self._reading = asyncio.Lock()  # JSON takes many times its bytes in memory: one client's at a time (I10)

    def check_upload(self, start: blobs.UploadStart) -> None:
        """Refuse an upload that would be refused afterwards, before its bytes travel."""
        if start.size > self._max_model_bytes:
            raise ModelTooLarge(f"{start.size} bytes; the limit is {self._max_model_bytes}")
        if not start.round_id:
            return  # from the reducer: a model or a package
        try:
            round_ = self._open_round(start.round_id, start.client_id)
        except RoundClosed:
            self.late += 1
            raise
        answer = round_.answers.get(start.client_id)
        if answer is not None and answer.update != start.digest:
            raise DuplicateUpdate(f"this client's task has ended before: {answer.code or answer.status}")
        if round_.order.kind == "predict":
            check_size(start.size)
            return
        # An update has the model's schema, so it cannot be much larger: twice is enough to name the difference.
        if start.size > 2 * round_.order.model_size + 2**20:
            raise SchemaMismatch(f"the update has {start.size} bytes, the model {round_.order.model_size}")

    async def submit(self, result: pb.TaskResult) -> pb.Receipt:
        """Take the result of a task; the receipt says whether it counts."""
        try:
            round_ = self._open_round(result.round_id, result.client_id)
            match result.WhichOneof("outcome"):
                case "update":
                    await self._accept(round_, *await self._checked_update(round_, result))
                case "validation":
                    await self._accept(round_, self._checked_validation(round_, result), None)
                case "prediction":
                    await self._accept(round_, await self._checked_prediction(round_, result), None)
                case "failure":
                    # not while an update of the same client is written ahead
                    async with round_.gate.answering(result.client_id):
                        round_.check_current()
                        self._fail(round_, result)
                case _:
                    raise OutputInvalid("the result carries no outcome")
        except (Unavailable, NotFound) as told:
            if isinstance(told, DiskFull):
                await to_the_end(self._tools.shelf.make_room)
            raise  # it says nothing about the result, which the client sends again; and what it uploaded, if need be
        except FednError as error:
            await self._count(result, error)
            return pb.Receipt(accepted=False, code=error.code, reason=error.reason)
        self._tools.roster.forget_task(result.client_id, task_id_of(round_, result.client_id))
        return pb.Receipt(accepted=True)

    def _fail(self, round_: Round, result: pb.TaskResult) -> None:
        """The client could not do its task; or it saw for itself that its update would be refused."""
        error = from_code(result.failure.code, result.failure.reason[:REASON_CHARS])
        if isinstance(error, UpdateRefused) and result.client_id not in round_.answers:
            round_.refused[error.code] += 1
        tail = result.failure.stderr_tail[-STDERR_TAIL_CHARS:]
        round_.settle(Answer.failed(result.client_id, error, stderr_tail=tail, seconds=result.seconds))

    def _open_round(self, round_id: str, client_id: str) -> Round:
        if self._rounds.is_over(round_id):
            raise RoundClosed(f"round {round_id} is over")
        round_ = self._rounds.get(round_id)
        if client_id not in round_.order.participants:
            raise NotAParticipant(f"round {round_id} did not ask client {client_id!r}")
        if round_.phase == "stage":
            raise Unavailable(f"round {round_id} is not open yet: this combiner still reads its model and journal")
        answer = round_.answers.get(client_id)
        if round_.closed and (answer is None or answer.status != "accepted"):
            raise RoundClosed(f"round {round_id} has ended")
        return round_

    async def _count(self, result: pb.TaskResult, error: FednError) -> None:
        self.late += isinstance(error, RoundClosed)
        try:
            round_ = self._rounds.get(result.round_id)
        except UpdateRefused:
            return
        # What the journal holds comes first.
        if round_.phase == "stage" and result.client_id in round_.order.participants:
            raise Unavailable(f"round {result.round_id} is being opened again") from error
        # A second update does not undo the first: it is counted, and the first stands.
        async with round_.gate.answering(result.client_id):
            round_.check_current()
            round_.refuse(result.client_id, error)

    async def _checked_update(self, round_: Round, result: pb.TaskResult) -> tuple[Answer, Ranges | None]:
        update = result.update
        if update.base_model != round_.order.model:
            raise WrongBase(f"trained from {update.base_model[:12]}…, the round's is {round_.order.model[:12]}…")
        if round_.order.kind != "train":
            raise OutputInvalid(f"an update was sent, and the task was to {round_.order.kind}")
        num_examples = check_num_examples(update.num_examples)
        check_metrics(update.metrics)
        known = result.client_id in round_.answers
        ranges = None if known else await self._look_at_update(round_, update.model, result.content)
        answer = Answer(
            client_id=result.client_id,
            status="accepted",
            update=update.model,
            num_examples=num_examples,
            metrics=dict(update.metrics),
            seconds=result.seconds,
        )
        return answer, ranges

    async def _look_at_update(self, round_: Round, digest: str, content: bytes) -> Ranges:
        if round_.schema is None or round_.update_schema is None:
            raise NotFound(f"the round's model was not opened, so the update {digest[:12]}… cannot be checked")
        check = functools.partial(
            look, schema=round_.schema, sent=round_.update_schema, wire=round_.order.encoding.dtype
        )
        return await self._look(round_, digest, check, content)

    async def _look(self, round_: Round, digest: str, check: Callable[[Path], T], content: bytes) -> T:
        """What the check finds in a blob that was uploaded, or came with its result; what it refuses is deleted."""

        def checked() -> T:
            path = self._tools.shelf.find(digest)
            if path is None and content:
                if len(content) > min(inline.MOST_BYTES, self._max_model_bytes):
                    raise ModelTooLarge(f"{len(content)} bytes in a result; uploads are for what is larger")
                path = self._tools.shelf.store(inline.checked(content, digest), digest)
            if path is None:
                raise NotFound(f"{digest[:12]}… was not uploaded to this combiner")
            return check(path)

        try:
            return await to_the_end(checked)
        except FileNotFoundError:
            raise NotFound(f"{digest[:12]}… is not at this combiner any more") from None
        except (BadInput, OutputInvalid):
            wanted = {round_.order.model, round_.order.package, *(a.update for a in round_.answers.values())}
            if round_.wire_model is not None:
                wanted.add(round_.wire_model.digest)
            if digest not in wanted:
                await asyncio.to_thread(self._tools.shelf.delete, digest)  # nothing is stored of what is refused
            raise

    def _checked_validation(self, round_: Round, result: pb.TaskResult) -> Answer:
        if result.validation.base_model != round_.order.model or round_.order.kind != "validate":
            raise WrongBase("validated another model than the round's")
        check_metrics(result.validation.metrics)
        return Answer(
            client_id=result.client_id,
            status="accepted",
            num_examples=check_num_examples(result.validation.num_examples),
            metrics=dict(result.validation.metrics),
            seconds=result.seconds,
        )

    async def _checked_prediction(self, round_: Round, result: pb.TaskResult) -> Answer:
        prediction = result.prediction
        if prediction.base_model != round_.order.model or round_.order.kind != "predict":
            raise WrongBase("predicted with another model than the round's")
        async with self._reading:
            size = await self._look(round_, prediction.predictions, check_predictions, result.content)
        return Answer(
            client_id=result.client_id,
            status="accepted",
            update=prediction.predictions,
            seconds=result.seconds,
            size=size,
        )

    async def _accept(self, round_: Round, answer: Answer, ranges: Ranges | None) -> None:
        """Once begun it goes to its end, also when the client hangs up: journal and memory agree."""
        await asyncio.shield(self._write_ahead(round_, answer, ranges))

    async def _write_ahead(self, round_: Round, answer: Answer, ranges: Ranges | None) -> None:
        """The journal's row is committed before anyone is told."""
        async with round_.gate.answering(answer.client_id):
            round_.check_current()
            present = round_.answers.get(answer.client_id)
            if present is not None and (present.status, present.update) == ("accepted", answer.update):
                return  # sent again because the receipt was lost
            if present is not None:
                raise DuplicateUpdate(f"this client's task has ended before: {present.code or present.status}")
            if round_.closed:
                raise RoundClosed(f"round {round_.order.round_id} has ended")
            await self._accepted.accept(round_.order.round_id, answer)
            if ranges is not None:
                round_.ranges[answer.client_id] = ranges
            round_.settle(answer)


def look(path: Path, schema: Schema, sent: Schema, wire: str) -> Ranges:
    """Check the values of an uploaded update, whose schema should be `sent`: the model's with the wire's float type."""
    return check_update(open_model(path, schema=sent), schema, wire=wire)


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Metrics must be finite numbers. Raises OutputInvalid."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise OutputInvalid(f"metric {name!r} is {value}")
