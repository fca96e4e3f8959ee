"""One loss: trigger → action → what the session made of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from test.faults import judge
from test.faults.losses import Fails, Goes, Loss
from test.faults.play import CONFIG, REACH_S, SIGNALS, Found, after, ended, prepared, send
from test.faults.site import HOMES, Site
from test.system.network import until


def lose(site: Site, loss: Loss, undisturbed: Sequence[str]) -> Found:
    """Hit the site, and let what died be dead until the session has ended."""
    started = time.monotonic()
    try:
        since, logs = prepared(site, ()), site.logs()
        halt, *others = [site.ask(trigger) for trigger in (loss.trigger, *loss.also)]
        session_id = site.start(**CONFIG | dict(loss.config))
        try:
            halted = site.reached(halt, REACH_S)
            if loss.how == "kill -9, twice":
                halt.ask(loss.trigger.where)  # before the script is run once more
                hit(site, loss, halted)
                halted = site.reached(halt, REACH_S)
            for other in others:
                site.reached(other, REACH_S)
            until(lambda: answered(site, session_id) >= loss.answers, f"{loss.answers} have answered")
            pids = hit(site, loss, halted)
            if loss.how == "SIGSTOP, back within it":
                until(lambda: moved(site, loss), "its clients have moved")
                send(pids, signal.SIGCONT)
            if loss.who != ("child",):
                halt.go()
            session = ended(site, session_id)
        finally:
            for each in (halt, *others):
                each.go()
            come_back(site, loss)
        if loss.how == "SIGSTOP, back after it":
            send(pids, signal.SIGCONT)
            site.at_home()  # what it sends now must change nothing
        wrong = [*as_expected(site, loss, session, undisturbed), *after(site, session, since, logs)]
        found = outcome(session)
    except AssertionError as error:
        wrong, found = [str(error)], ""
    return Found(tuple(wrong), time.monotonic() - started, found)


def hit(site: Site, loss: Loss, halted: int) -> list[int]:
    """The action; the processes that were hit."""
    number = next(number for way, number in SIGNALS.items() if loss.how.startswith(way))
    pids = [halted] if loss.who == ("child",) else [-site.roles[who].process.pid for who in loss.who]
    for who in loss.who:
        site.supervisor.leave(who)
    send([*pids, *(-site.roles[name].process.pid for name in loss.and_back)], number)
    return pids


def come_back(site: Site, loss: Loss) -> None:
    """From now on the supervisor cares for all again."""
    for who in loss.who:
        if who in site.roles:
            site.keep(who)


def answered(site: Site, session_id: str) -> int:
    """How many clients have answered in the round that runs."""
    live = site.session(session_id)["live"]
    return int(live["answered"]) if live else 0


def moved(site: Site, loss: Loss) -> bool:
    """Whether the clients of the combiners that are lost are attached to others."""
    where = {client["name"]: c["name"] for c in site.get("/")["combiners"] for client in c["clients"]}
    return all(where.get(name, home) not in loss.who for name, home in HOMES.items())


def as_expected(site: Site, loss: Loss, session: Mapping[str, Any], undisturbed: Sequence[str]) -> Iterator[str]:
    """What is wrong with how the session went."""
    expected = loss.expected
    if isinstance(expected, Fails):
        wanted = session["code"] == expected.code and all(word in session["reason"] for word in expected.words)
        if session["status"] != "failed" or not wanted:
            yield f"the session {session['status']}: {session['code']}: {session['reason']}"
        if any(record["session"] == session["id"] for record in site.get("/api/v1/trail")["records"]):
            yield "the trail has a record of a round that failed"
        return
    if session["status"] != "finished":
        yield f"the session {session['status']}: {session['code']}: {session['reason']}"
        return
    updates = tuple(line["updates"] for line in session["rounds"])
    if updates != expected.updates:
        yield f"the rounds have {updates} updates"
    if expected.same:
        yield from judge.models_are(session, undisturbed)
        yield from judge.session_is_whole(site, session, clients=len(HOMES))
    yield from failures_are(session, expected)
    yield from receipts_name(site, session)


def failures_are(session: Mapping[str, Any], expected: Goes) -> Iterator[str]:
    """Who failed in the first round, and with which code."""
    found = {failure["name"]: failure["code"] for failure in session["rounds"][0]["failures"]}
    wanted = {name: code for name, code in found.items() if name in expected.failed}
    if wanted != expected.failed:
        yield f"those who failed are {found}, not {dict(expected.failed)}"


def receipts_name(site: Site, session: Mapping[str, Any]) -> Iterator[str]:
    """Each round's receipt names as many updates as the round says were accepted."""
    records = {r["round"]: r for r in site.get("/api/v1/trail")["records"] if r["session"] == session["id"]}
    for line in session["rounds"]:
        named = len(judge.updates_of(site, records[line["round"]]))
        if named != line["updates"]:
            yield f"the receipt of round {line['round']} names {named} updates, and {line['updates']} were accepted"


def outcome(session: Mapping[str, Any]) -> str:
    """What the session came to, in short."""
    if session["status"] != "finished":
        return str(session["code"])
    return str(Goes(tuple(line["updates"] for line in session["rounds"])))
