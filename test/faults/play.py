"""One row: trigger → action → what is found."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from test.faults import judge
from test.faults.control import Halt
from test.faults.rows import STORES, TRAINING, VALIDATING, How, Row, Who
from test.faults.site import HOMES, Site
from test.system.network import until

FREEZE_S = 3.0  # longer than the lease, three heartbeats, and the keepalive
REACH_S, END_S = 30.0, 75.0
ROUNDS = 2
CONFIG = {"rounds": ROUNDS, "clients_required": len(HOMES), "attempts": 1, "round_timeout": 60, "wait_timeout": 30}
SIGNALS: dict[How, signal.Signals] = {
    "kill -9": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGSTOP": signal.SIGSTOP,
}
ROLE: dict[Who, str] = {"reducer": "reducer", "combiner": "north", "client": "c0"}


@dataclass(frozen=True)
class Found:
    """What became of a row; nothing `wrong` is as expected."""

    wrong: tuple[str, ...]
    seconds: float
    outcome: str = ""

    @property
    def holds(self) -> bool:
        """Whether the row is as expected."""
        return not self.wrong


def undisturbed(site: Site) -> list[str]:
    """The models of a session that nothing disturbs; they hold what every row's must hold."""
    since, logs = prepared(site, ()), site.logs()
    session = site.ended(site.start(**CONFIG))
    wrong = [*judge.session_is_whole(site, session, clients=len(HOMES)), *after(site, session, since, logs)]
    assert not wrong, wrong
    return judge.models(session)


def prepared(site: Site, put_anew: Sequence[str]) -> int:
    """All are at home, a new lineage has begun; the number of its record. Models `put_anew` are not in the store."""
    site.at_home()
    since = site.new_lineage()
    for model in put_anew:
        site.blob(model).unlink(missing_ok=True)
    for part in site.folder.glob("*/blobs/incoming/*"):  # of an upload that another row broke off: the same bytes
        part.unlink()
    return since


def after(site: Site, session: dict[str, Any], since: int, logs: dict[str, int]) -> Iterator[str]:
    """What is wrong with the session's trail, trainings and logs."""
    yield from judge.trail_holds(site, since)
    yield from judge.nothing_was_trained_twice(site, session["id"])
    yield from judge.no_tracebacks(site, logs)


def play(site: Site, row: Row, expected: Sequence[str]) -> Found:
    """Hit the site once, in a session of its own."""
    started = time.monotonic()
    try:
        site.at_home()
        site.bring(row.isolation)
        since, logs = prepared(site, expected), site.logs()
        halt = site.ask(row.trigger)
        session_id = site.start(**CONFIG)
        try:
            hit(site, row, halt, site.reached(halt, REACH_S))
            session = ended(site, session_id)
        finally:
            halt.go()
        if row.who == "leader" and row.how == "SIGSTOP":  # what it still writes is judged too
            until(lambda: only_one_leads(site.said("reducer", logs)), "the former leader gives up", within=REACH_S)
        wrong = [
            *judge.session_is_whole(site, session, clients=len(HOMES)),
            *judge.models_are(session, expected),
            *after(site, session, since, logs),
        ]
        outcome = f"model {str((judge.models(session) or ['none'])[-1])[:12]}"
    except AssertionError as error:
        wrong, outcome = [str(error)], ""
    return Found(tuple(wrong), time.monotonic() - started, outcome)


def ended(site: Site, session_id: str) -> dict[str, Any]:
    """Wait for the session's end; while a store is away nobody can say."""

    def look() -> dict[str, Any]:
        with suppress(AssertionError):
            session: dict[str, Any] = site.session(session_id)
            return session if session["ended"] else {}
        return {}

    return until(look, f"session {session_id} ends", within=END_S)


def only_one_leads(said: str) -> bool:
    """Whether a former leader has given up, if another took over: one frozen as it wrote to SQLite lets nobody in."""
    return said.count("leads no more") >= said.count("this worker leads,")


def hit(site: Site, row: Row, halt: Halt, halted: int) -> None:
    """The action. A script that dies with its client, or as the victim, must not go on before it does."""
    pids = victims(site, row, halted)
    send(pids, SIGNALS[row.how])
    if row.how == "SIGSTOP":
        halt.go()
        time.sleep(FREEZE_S)  # the fault itself, not a synchronisation
        send(pids, signal.SIGCONT)
    elif row.trigger not in (TRAINING, VALIDATING) or row.who not in ("client", "child", "all"):
        halt.go()


def victims(site: Site, row: Row, halted: int) -> list[int]:
    """The processes that are hit, or, negative, the process groups."""
    if row.who == "leader":
        return [site.leader()]
    if row.who == "child":
        return [halted]
    if row.who == "all":
        return [-role.process.pid for role in site.roles.values()]
    pid = site.servers[row.who].pid if row.who in STORES else site.roles[ROLE[row.who]].process.pid
    return [pid if row.how == "SIGTERM" else -pid]  # a supervisor's SIGTERM is for the process that it started


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Signal them."""
    for pid in pids:
        with suppress(ProcessLookupError):
            if pid < 0:
                os.killpg(-pid, number)
            else:
                os.kill(pid, number)
