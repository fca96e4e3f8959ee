"""The session driver: runs in the worker that holds the lease, takes the active session from round to round.

A prediction (`predicting.py`) has its turn when no session runs.

::

    waiting ──clients_required are connected──▶ train round ──▶ validate round ──▶ next, until config.rounds
       │ wait_timeout                              │ failed: again, up to config.attempts
       └──▶ session failed                         └──▶ session failed

Everything it needs is in the store: after a change of leader the next one goes on where the trail ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from fedn.errors import (
    FednError,
    PackageMissing,
    QuorumNotMet,
    RoundFailed,
    SeedMissing,
    StaleTerm,
    Stopped,
    VersionConflict,
)
from fedn.reducer.attendance import Attendance
from fedn.reducer.desk import Desk
from fedn.reducer.network import Network, Seen, connected
from fedn.reducer.participants import choose
from fedn.reducer.plan import Plan
from fedn.reducer.predicting import Predicting
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.wire.threads import to_the_end

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.25  # between looks for a new session, a stop, or missing clients; never within a round


class Driver:
    """Leads until it is cancelled or fenced.

    `fresh()` says whether the lease still holds; it raises Unavailable while only the store could tell.
    """

    def __init__(self, desk: Desk, network: Network, *, term: int, fresh: Callable[[], bool]) -> None:
        self._desk = desk
        self._network = network
        self._term = term
        self._fresh = fresh
        self._stores = desk.stores
        self._first = 1  # the first round of the session that this leader begins or goes on with
        self._digest = ""

    async def lead(self, woken: asyncio.Event) -> None:
        """Run sessions as they come."""
        while True:
            woken.clear()
            session = await self._stores.do_at_last(self._desk.sessions.active)
            # Looked for after the session: one that was asked for before it is seen, and runs first.
            prediction = await self._stores.do_at_last(self._desk.predictions.active)
            if prediction is not None:
                await self._predict(prediction["_id"], session)
                continue
            if session is not None:
                await self._run(session)
                continue
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await woken.wait()
            except TimeoutError:
                continue

    async def _predict(self, prediction_id: str, session: dict[str, Any] | None) -> None:
        """A session that was begun meanwhile says what it waits for: at most the prediction's round_timeout."""
        if session is not None and session["status"] == "waiting":
            said = f"prediction {prediction_id} runs first"
            note = functools.partial(self._desk.sessions.set_status, may_write=self._may_write)
            await self._stores.do_at_last(note, session["_id"], "waiting", said)
        try:
            await Predicting(self._desk, self._network, term=self._term, fresh=self._fresh).run(prediction_id)
        finally:
            await to_the_end(self._desk.make_room)

    async def _run(self, session: dict[str, Any]) -> None:
        """One session to its end; whatever goes wrong becomes its status, with code and reason."""
        session_id = session["_id"]
        try:
            await self._rounds(session_id, SessionConfig.parse(session["config"]))
        except StaleTerm:
            raise
        except Stopped as error:
            await self._end(session_id, "stopped", error)
        except FednError as error:
            log.warning("session %s failed: %s", session_id, error)
            await self._end(session_id, "failed", error)
        except Exception as error:  # the outermost loop of a session: it must end with a reason
            log.exception("session %s failed", session_id)
            await self._end(session_id, "failed", FednError(f"{type(error).__name__}: {error}"))
        else:
            await self._end(session_id, "finished")
            log.info("session %s finished", session_id)
        finally:
            await to_the_end(self._desk.make_room)  # no next round's sums come in the place of the last one's

    async def _end(self, session_id: str, status: str, error: FednError | None = None) -> None:
        code, reason = ("", "") if error is None else (error.code, error.reason)
        end = functools.partial(self._desk.sessions.end, may_write=self._may_write)
        await self._stores.do_at_last(end, session_id, status, code=code, reason=reason)
        if error is not None:
            await self._stores.do_at_last(self._give_up_rounds, session_id, error)

    def _give_up_rounds(self, session_id: str, error: FednError) -> None:
        """A mistake may have left a round without an end; the next survey tells the combiners."""
        failed = {"status": "failed", "code": error.code, "reason": error.reason, "ended": time.time()}
        for document in self._desk.state.find("rounds", where={"session": session_id, "status": "started"}):
            with contextlib.suppress(VersionConflict):
                self._desk.state.replace("rounds", document | failed)

    def _may_write(self) -> None:
        if not self._fresh():
            raise StaleTerm("the lease ran out before the session could be changed")

    async def _rounds(self, session_id: str, config: SessionConfig) -> None:
        await self._stores.do(self._desk.sessions.take, session_id, self._term)
        await self._stores.do(self._desk.check_newest)
        done = await self._stores.do(self._settled, session_id)
        number = self._first = len(done) + 1
        package = await self._stores.do(self._package)  # it stays as it is while a session runs
        self._digest = str(package["digest"])
        # A package need not have the entry point; then there is nothing to ask of the clients.
        validates = config.validate and "validate" in package.get("entry_points", ())
        if done and validates:
            await self._validate_once(session_id, config, len(done))
        while number <= config.rounds:
            await self._train(session_id, config, number)
            if validates:
                await self._validate_once(session_id, config, number)
            number += 1

    def _settled(self, session_id: str) -> list[dict[str, Any]]:
        """The session's records. A leader that died after a commit left the round's document as it was before."""
        done = self._desk.trail.of_session(session_id)
        for record in done[-1:]:
            for document in self._rounds_of(session_id, record["round"], "train"):
                if document["status"] == "started":
                    settled = {"status": "committed", "model": record["model"], "ended": record["time"]}
                    try:
                        self._desk.state.replace("rounds", document | settled)
                    except VersionConflict:  # the former leader, alive, was just closing it
                        return self._settled(session_id)
        return done

    async def _train(self, session_id: str, config: SessionConfig, number: int) -> None:
        """One round, tried again when it fails, up to `attempts` times."""
        resumes = number == self._first  # a former leader may have begun it; the later ones are ours
        failed = await self._stores.do(self._attempts_failed, session_id, number) if resumes else 0
        while True:
            plan = await self._plan(session_id, config, number, kind="train", attempt=failed + 1)
            try:
                await self._conduct(RoundRun(self._desk, self._network, plan, fresh=self._fresh), session_id)
                return
            except RoundFailed as error:
                failed += 1
                log.warning("round %d of %s, attempt %d: %s", number, session_id, failed, error)
                if failed >= config.attempts:
                    raise QuorumNotMet(f"round {number} failed {failed} times; the last: {error.reason}") from None

    async def _validate_once(self, session_id: str, config: SessionConfig, number: int) -> None:
        """Validate the newest model; a validation that fails is noted in its document and costs no round."""
        former = number < self._first  # it may have been validated before this leader's time
        attempts = await self._stores.do(self._rounds_of, session_id, number, "validate") if former else []
        if any(a["status"] != "started" for a in attempts):
            return
        try:
            plan = await self._plan(session_id, config, number, kind="validate", attempt=1)
            await self._conduct(RoundRun(self._desk, self._network, plan, fresh=self._fresh), session_id)
        except RoundFailed as error:
            log.warning("validation of round %d of %s: %s", number, session_id, error)

    def _rounds_of(self, session_id: str, number: int, kind: str) -> list[dict[str, Any]]:
        return self._desk.state.find("rounds", where={"session": session_id, "round": number, "kind": kind})

    def _attempts_failed(self, session_id: str, number: int) -> int:
        return sum(r["status"] == "failed" for r in self._rounds_of(session_id, number, "train"))

    async def _plan(self, session_id: str, config: SessionConfig, number: int, *, kind: str, attempt: int) -> Plan:
        """What the round is to do; a round that a former leader began goes on as it was laid out."""
        round_id = f"{session_id}.{number}.{kind}.{attempt}"
        latest = await self._stores.do(self._desk.trail.latest)
        if latest is None:
            raise SeedMissing("there is no seed model; upload one at /seed")
        begun = await self._stores.do(self._desk.state.get, "rounds", round_id) if number <= self._first else None
        if begun is not None:
            assignment = Plan.assignment_of(begun)
        else:
            seen = await self._wait_for_clients(session_id, config)
            clients = await self._stores.do(connected, self._desk.state, seen)
            clients = [client for client in clients if client.can(config.encodings)]
            wanted = config.clients_requested if kind == "train" else None
            chosen = choose(clients, requested=wanted, seed=config.seed, round_number=number)
            assignment = {"participants": chosen}
        return Plan(
            round_id=round_id,
            session=session_id,
            round=number,
            kind=kind,
            model=latest["model"],
            package=self._digest,
            config=config,
            term=self._term,
            **assignment,
        )

    def _package(self) -> dict[str, Any]:
        package = self._desk.state.get("context", "package")
        if package is None:
            raise PackageMissing("there is no compute package; upload one at /context")
        return package

    async def _wait_for_clients(self, session_id: str, config: SessionConfig) -> list[Seen]:
        """Until clients_required clients are connected; says what is missing, and ends by wait_timeout."""
        clock = asyncio.get_running_loop().time
        deadline, said = clock() + config.wait_timeout - self._stores.waited_s, ""
        while True:
            seen = await self._stores.ask(self._network.survey)
            attendance = Attendance.of(seen, config)
            status, reason = ("running", "") if attendance.is_enough else ("waiting", attendance.reason)
            session = await self._stores.do(self._desk.sessions.get, session_id)
            if session["stop"]:
                raise Stopped("stopped by the user")
            if (session["status"], session["reason"]) != (status, reason):
                note = functools.partial(self._desk.sessions.set_status, may_write=self._may_write)
                await self._stores.do(note, session_id, status, reason)
            if status == "running":
                return seen
            if said != reason:
                said = reason
                log.info("session %s waits: %s", session_id, reason)
            if clock() - self._stores.waited_s >= deadline:
                raise attendance.failure(f"{reason}, and wait_timeout ({config.wait_timeout:g} s) is over")
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _conduct(self, run: RoundRun, session_id: str) -> None:
        """Run the round beside a watch for the user's stop. Raises Stopped."""
        stopped = asyncio.Event()
        watch = asyncio.create_task(self._watch(run, session_id, stopped))
        try:
            await run.run()
        except RoundFailed:
            if not stopped.is_set():
                raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if stopped.is_set():
            raise Stopped("stopped by the user")

    async def _watch(self, run: RoundRun, session_id: str, stopped: asyncio.Event) -> None:
        """Abort the round when the user stops the session; again and again, for a combiner may be away just then."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            session = await self._stores.do_at_last(self._desk.sessions.get, session_id)
            if session["stop"]:
                stopped.set()
                await run.abort("stopped by the user")
