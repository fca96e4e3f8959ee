"""One task at a time: fetch, run the entry point, keep the result, deliver it until there is a receipt.

::

    take ─▶ package + model ─▶ entry point ─▶ result.json ─▶ upload ─▶ submit ─▶ receipt
                                   │ failed                               ▲
                                   └──────────── code, stderr tail ───────┘

A task that is given again (a new stream, a restart of the combiner) is recognised by its id: it goes on, or
what it made is delivered again; nothing is trained twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from fedn.client.cache import Cache
from fedn.client.encoding import encoding_of, for_the_wire, round_model
from fedn.client.executor import Executor, Fetch, Job
from fedn.client.link import Link
from fedn.client.outputs import read_metadata, read_metrics
from fedn.client.settings import settings_for
from fedn.client.told import told
from fedn.client.transfers import Transfers, Upload
from fedn.client.workspace import TrainResult, Workspace
from fedn.config import ClientSettings
from fedn.errors import (
    DiskFull,
    FednError,
    ModelTooLarge,
    NotAParticipant,
    OutputMissing,
    RoundClosed,
    TaskTimeout,
    UnknownRound,
    no_room,
)
from fedn.model.predictions import check_predictions
from fedn.model.safetensors import digest_of
from fedn.wire import inline
from fedn.wire.backoff import delays
from fedn.wire.threads import to_the_end
from fedn.wire.v1 import combiner_pb2 as pb

log = logging.getLogger(__name__)


@dataclass
class Running:
    """The task in progress; `over` once nobody waits for its result."""

    command: pb.RunTask
    deadline: float  # of the script, on the monotonic clock
    work: asyncio.Task[None] | None = None
    over: bool = False
    # Given again while it is in progress: a combiner that refuses its result may not yet have known of the client.
    again: bool = False
    upload: Upload | None = None  # what the result needs at the combiner
    earlier_s: float = 0.0  # what the training took that an earlier life of this process finished

    def is_over(self) -> bool:
        """True once the combiner has cancelled the task, or another took its place."""
        return self.over

    def is_out_of_time(self) -> bool:
        """True once it is too late to run its script, as well."""
        return self.over or time.monotonic() >= self.deadline


class Tasks:
    """The client's work. `part` is set by the agent when it attaches."""

    def __init__(
        self,
        settings: ClientSettings,
        workspace: Workspace,
        link: Link,
        *,
        identity: str,
        cache: Cache,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._workspace = workspace
        self._link = link
        self._identity = identity
        self._cache = cache
        self._executor = executor
        self._ours = dict(os.environ)  # now: a script that runs inline changes it for its time
        renews = settings.auth_token_file is not None
        self._transfers = Transfers(link, identity=identity, min_rate_bytes_s=settings.min_rate_bytes_s, renews=renews)
        self._running: Running | None = None
        self._tidying: set[asyncio.Task[None]] = set()
        self.part = 0

    def take(self, command: pb.RunTask) -> None:
        """Begin the task; the one before it is over, since a combiner has one open task per client."""
        running = self._running
        if running is not None and not running.over:
            if running.command.task_id == command.task_id:
                running.again = True
                return
            self.cancel(running.command.task_id, "another task was given")
        before = running.work if running is not None else None
        self._running = Running(command, deadline=time.monotonic() + command.time_limit_s)
        self._running.work = asyncio.create_task(self._perform(self._running, before))

    def cancel(self, task_id: str, reason: str) -> None:
        """Stop working on the task; a training script is ended with its whole process group."""
        running = self._running
        if running is None or running.command.task_id != task_id or running.over or running.work is None:
            return
        log.info("task %s is cancelled: %s", task_id, reason)
        running.over = True
        running.work.cancel()

    def round_ended(self, round_id: str) -> None:
        """The round is committed or aborted: nothing of it need be kept."""
        running = self._running
        if running is not None and running.command.round_id == round_id:
            self.cancel(running.command.task_id, "the round has ended")
        # Deleting takes its time, and the next round's task comes right after.
        tidying = asyncio.create_task(asyncio.to_thread(self._workspace.end_round, round_id))
        self._tidying.add(tidying)
        tidying.add_done_callback(self._tidying.discard)

    async def stop(self) -> None:
        """End the task in progress; what is finished stays on disk."""
        await asyncio.gather(*self._tidying, return_exceptions=True)
        if self._running is not None and self._running.work is not None:
            self._running.work.cancel()
            await asyncio.gather(self._running.work, return_exceptions=True)

    async def _perform(self, running: Running, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        try:
            while not await self._delivered(running) and running.again:
                log.info("task %s was given again meanwhile", running.command.task_id)
        finally:
            running.over = True
            await asyncio.to_thread(self._sweep, running.command.task_id)

    def _sweep(self, present: str) -> None:
        self._workspace.sweep(present)
        self._cache.sweep()

    async def _delivered(self, running: Running) -> bool:
        """Do the task and hand its result in; what is done already is not done again. True when it was taken."""
        running.again = False
        result = await self._result(running)
        return result is not None and await self._transfers.submit(
            result, upload=running.upload, give_up=running.is_over
        )

    async def _result(self, running: Running) -> pb.TaskResult | None:
        """What came of the task; None when the combiner knows no such round, or none that is open."""
        command, started = running.command, time.monotonic()
        result = pb.TaskResult(client_id=self._identity, task_id=command.task_id, round_id=command.round_id)
        try:
            await self._with_room(running, result)
        except (UnknownRound, RoundClosed, NotAParticipant) as error:
            # A combiner that was just started again gives the task again once it knows the round; one to which this
            # client has moved, once the reducer has told it so.
            log.warning("the result of %s was not taken: %s", command.task_id, error)
            return None
        except FednError as error:
            log.warning("task %s failed: %s", command.task_id, error)
            tail = str(error.detail.get("stderr_tail", ""))
            result.failure.CopyFrom(pb.Failure(code=error.code, reason=error.reason, stderr_tail=tail))
        except Exception as error:  # the outermost loop of a task: whatever ended it, the combiner is told (I8)
            log.exception("task %s failed", command.task_id)
            reason = f"on the client: {type(error).__name__}: {error}"
            result.failure.CopyFrom(pb.Failure(code=FednError.code, reason=reason))
        result.seconds = running.earlier_s + time.monotonic() - started
        log.info("task %s: %s after %.2f s", command.task_id, result.WhichOneof("outcome"), result.seconds)
        return result

    async def _with_room(self, running: Running, result: pb.TaskResult) -> None:
        """Do the task, again while this client's disk is full and the task has time. Raises DiskFull."""
        waits = delays()
        while True:
            try:
                await self._do(running, result)
                return
            except DiskFull as told:
                error = told
            except OSError as told:
                if not no_room(told):
                    raise
                error = DiskFull(f"the client's disk is full: {told.strerror}")
            left = running.deadline - time.monotonic()
            if left <= 0:
                raise error
            log.warning("task %s waits: %s", running.command.task_id, error)
            await asyncio.sleep(min(next(waits), left))

    async def _do(self, running: Running, result: pb.TaskResult) -> None:
        match running.command.kind:
            case pb.TASK_KIND_TRAIN:
                result.update.CopyFrom(await self._train(running))
            case pb.TASK_KIND_PREDICT:
                result.prediction.CopyFrom(await self._predict(running))
            case _:
                result.validation.CopyFrom(await self._validate(running))

    async def _train(self, running: Running) -> pb.Update:
        command = running.command
        done = self._workspace.result(command.task_id)
        if done is None or not await asyncio.to_thread(self._is_whole, running, done):
            done = await self._train_now(running)
        else:
            running.earlier_s = done.seconds
        out = self._workspace.task(command.task_id) / done.out
        await self._upload(running, out, done.digest)
        return pb.Update(
            model=done.digest, base_model=command.model, num_examples=done.num_examples, metrics=done.metrics
        )

    async def _train_now(self, running: Running) -> TrainResult:
        command, started = running.command, time.monotonic()
        out = await self._run(running, "train", "out")

        def finish() -> TrainResult:
            metadata = read_metadata(out.with_name("out-metadata"))
            update, digest = for_the_wire(out, command)
            done = TrainResult(
                round_id=command.round_id,
                out=f"{out.parent.name}/{update.name}",
                digest=digest,
                num_examples=metadata.num_examples,
                metrics=metadata.metrics,
                seconds=time.monotonic() - started,
            )
            self._workspace.save_result(command.task_id, done)
            return done

        # To the end: cancelled halfway, it would write beside the next task of the same id.
        return await to_the_end(finish)

    def _is_whole(self, running: Running, done: TrainResult) -> bool:
        out = self._workspace.task(running.command.task_id) / done.out
        return out.is_file() and digest_of(out) == done.digest

    async def _validate(self, running: Running) -> pb.Validation:
        out = await self._run(running, "validate", "metrics.json")
        measured = await asyncio.to_thread(read_metrics, out)
        return pb.Validation(
            base_model=running.command.model, num_examples=measured.num_examples, metrics=measured.metrics
        )

    async def _predict(self, running: Running) -> pb.Prediction:
        out = await self._run(running, "predict", "predictions.json")
        await asyncio.to_thread(check_predictions, out)
        digest = await asyncio.to_thread(digest_of, out)
        await self._upload(running, out, digest)
        return pb.Prediction(predictions=digest, base_model=running.command.model)

    async def _upload(self, running: Running, out: Path, digest: str) -> None:
        command = running.command
        upload = Upload(out, digest, encoding_of(command).zstd)
        if not upload.is_small():
            await self._transfers.upload(out, digest, command.round_id, zstd=upload.zstd, give_up=running.is_over)
        running.upload = upload

    async def _run(self, running: Running, entry_point: str, name: str) -> Path:
        """Run the entry point; returns its output, in a folder that no earlier run of the task has seen."""
        command = running.command

        async def fetch(digest: str, size: int, destination: Path) -> None:
            if command.content and digest == (command.wire_model or command.model) and not destination.exists():
                await to_the_end(lambda: self._lay_down(command.content, digest, destination))
            await self._transfers.fetch(
                digest,
                size,
                destination,
                zstd=encoding_of(command).zstd,
                give_up=running.is_out_of_time,
                make_room=self._cache.make_room,
            )

        with self._cache.using(command.package):
            await self._prepared(running, entry_point, fetch)
            if command.model_size > self._settings.max_model_bytes:
                limit = self._settings.max_model_bytes
                raise ModelTooLarge(f"the model has {command.model_size} bytes; this client's limit is {limit}")
            return await self._run_prepared(running, entry_point, name, fetch)

    def _lay_down(self, content: bytes, digest: str, destination: Path) -> None:
        self._cache.make_room()
        inline.to_file(content, digest, destination)

    async def _prepared(self, running: Running, entry_point: str, fetch: Fetch) -> None:
        """Package and environment, within the task's time."""
        try:
            async with asyncio.timeout(max(0.0, running.deadline - time.monotonic())):
                await self._executor.prepare(running.command, entry_point, fetch)
        except TimeoutError:
            reason = "its time was up before the package and its environment were ready; their making goes on"
            raise TaskTimeout(reason) from None

    async def _run_prepared(self, running: Running, entry_point: str, name: str, fetch: Fetch) -> Path:
        command = running.command
        async with round_model(self._cache, command, fetch) as model:
            folder, environ = await asyncio.to_thread(self._laid_out, command)
            out = folder / name
            job = Job(
                entry_point=entry_point,
                package=command.package,
                model=model,
                out=out,
                environ=environ,
                deadline=running.deadline,
                log=lambda line: log.info("%s: %s", entry_point, line),
            )
            await self._executor.run(job)
        if not out.exists():
            raise OutputMissing(f"{entry_point} ended well but wrote no {out.name}")
        return out

    def _laid_out(self, command: pb.RunTask) -> tuple[Path, dict[str, str]]:
        """Where the script runs, and its environment: the process's own without its secrets, and what the task says."""
        folder = self._workspace.attempt(command.task_id)
        settings = folder / "settings.json"
        settings.write_text(settings_for(command, self._settings.training))
        return folder, told(command, part=self.part, settings=settings, client=self._settings, ours=self._ours)
