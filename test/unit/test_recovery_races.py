"""Races of the recovery, step by step: what comes between two lines must cost nothing (I1, I2, I8, I9)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import numpy as np
import pytest

from fedn.client.tasks import Tasks
from fedn.client.transfers import Transfers
from fedn.combiner.intake import Intake
from fedn.combiner.journal import Journal
from fedn.combiner.round import Participant
from fedn.combiner.rounds import Rounds
from fedn.errors import CombinerUnreachable, NoCombiner, NotAParticipant, StaleTerm, Unauthenticated, Unavailable
from fedn.reducer import discovery
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.desk import Desk
from fedn.reducer.discovery import Request
from fedn.reducer.driver import Driver
from fedn.reducer.network import Seen
from fedn.reducer.participants import ConnectedClient
from fedn.reducer.parts import Parts
from fedn.reducer.plan import Plan
from fedn.reducer.predicting import Predicting
from fedn.reducer.round import RoundRun
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.sessions import ACTIVE
from fedn.storage.sqlite import SqliteState
from fedn.wire.failover import Addresses, AsyncFailover
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from test.unit.client_bench import Bench, bench
from test.unit.combiner_bench import Hand, Table, table, until
from test.unit.reducer_bench import fails, hangs, learns, reducer, soon
from test.unit.test_combiner_recovery import send, stage
from test.unit.test_reducer_moves import lost, running, statuses
from test.unit.test_reducer_sessions import create

# I1: what a client has uploaded and not yet handed in


async def handed_in(hand: Hand, update: pb.Update) -> None:
    """Submit as a client does: again while the combiner says that it cannot say."""
    for _ in range(100):
        try:
            async with rpc_errors(unreachable=Unavailable):
                await hand.submit("r1", update=update)
                return
        except Unavailable:
            await asyncio.sleep(0.01)


async def test_an_update_that_was_uploaded_when_its_combiner_was_killed_still_counts(tmp_path: Path) -> None:
    """I1: it was killed between the end of an upload and the journal's row."""
    async with table(tmp_path) as laid:
        (one,) = await stage(laid, "one")
        await laid.start("one")
        await one.task()
        update = await send(laid, one, 1.0)
        staged = (laid.model, laid.model_size, laid.package)
    async with table(tmp_path) as laid:
        laid.model, laid.model_size, laid.package = staged
        await laid.start("one")
        one = laid.hand("one")
        await one.attach()
        await one.task()
        await handed_in(one, update)
        (round_,) = laid.combiner.rounds.known()
        assert "one" not in round_.answers or round_.answers["one"].status == "accepted"


async def test_an_update_that_was_uploaded_when_the_epoch_changed_still_counts(tmp_path: Path) -> None:
    """I1: clients of a lost combiner were given to this one just then."""
    async with table(tmp_path) as laid:
        one, two = await stage(laid, "one", "two")
        await laid.start("one")
        await one.task()
        update = await send(laid, one, 1.0)
        await laid.start("one", "two", epoch=2)
        await two.task()
        await handed_in(one, update)
        (round_,) = laid.combiner.rounds.known()
        assert "one" not in round_.answers or round_.answers["one"].status == "accepted"


# Fencing


async def test_a_combiner_remembers_a_newer_leader_of_a_round_that_it_knows(tmp_path: Path) -> None:
    """Fencing, also over a restart: else a former leader could end the round, and with it accepted updates (I1)."""
    async with table(tmp_path) as laid:
        (one,) = await stage(laid, "one")
        await laid.start("one", term=1)
        await one.task()
        await laid.start("one", term=2)
        await asyncio.wait_for(laid.control.Report(control.ReportRequest()), 5)
    async with table(tmp_path) as laid:
        with pytest.raises(StaleTerm):
            async with rpc_errors(unreachable=Unavailable):
                await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=False))


async def test_a_leader_that_is_overtaken_while_its_term_is_noted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fencing: the call of a leader that was new when it came must not be carried out after that of a newer one."""
    held, keep = threading.Event(), Journal.keep_term

    def slowly(journal: Journal, term: int) -> None:
        if term == 2:
            assert held.wait(20)
        keep(journal, term)

    monkeypatch.setattr(Journal, "keep_term", slowly)
    obeyed: list[int] = []

    async def call(rounds: Rounds, term: int) -> None:
        await rounds.fence(term)
        obeyed.append(term)

    async with table(tmp_path) as laid:
        calls = [asyncio.create_task(call(laid.combiner.rounds, term)) for term in (2, 3)]
        await asyncio.wait(calls, timeout=0.2)  # the newer may overtake, or wait
        held.set()
        await asyncio.gather(*calls, return_exceptions=True)
    assert obeyed in ([2, 3], [3])


async def test_a_term_that_is_being_noted_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fencing: an EndRound of the former leader would forget what was accepted."""
    held, keep, reached = threading.Event(), Journal.keep_term, threading.Event()

    def slowly(journal: Journal, term: int) -> None:
        reached.set()
        assert held.wait(20)
        keep(journal, term)

    async with table(tmp_path) as laid:
        rounds = laid.combiner.rounds
        await rounds.fence(1)
        monkeypatch.setattr(Journal, "keep_term", slowly)
        newer = asyncio.create_task(rounds.fence(2))
        try:
            await until(reached.is_set)
            former = asyncio.create_task(rounds.fence(1))
            await asyncio.sleep(0.05)  # it may be refused at once, or wait for the newer one
        finally:
            held.set()
            await newer
        with pytest.raises(StaleTerm):
            await former


# Several reducers


async def test_requests_that_fail_side_by_side_all_find_the_other_reducer() -> None:
    """I9: the second failure at the dead reducer must not turn back to it."""
    both, waiting = asyncio.Event(), 0

    class Inner(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal waiting
            if request.url.host == "gone":
                waiting += 1
                if waiting == 2:
                    both.set()
                await both.wait()
                raise httpx.ConnectError("refused")
            return httpx.Response(200)

    failover = AsyncFailover(Addresses(["http://gone:1", "http://there:1"]), httpx.Limits())
    await failover._transport.aclose()
    failover._transport = Inner()  # type: ignore[assignment]
    async with httpx.AsyncClient(base_url="http://gone:1", transport=failover) as http:
        found = await asyncio.gather(http.get("/"), http.get("/"), return_exceptions=True)
    assert [getattr(f, "status_code", f) for f in found] == [200, 200]


# Discovery


def combiner(name: str, *clients: str, up: bool = True) -> Seen:
    attached = [control.AttachedClient(client_id=c, name=c, part=k) for k, c in enumerate(clients)]
    return Seen(name, name, f"{name}:1", control.ReportReply(combiner=name, clients=attached) if up else None)


def ask(state: SqliteState, seen: list[Seen], preferred: str | None = None) -> dict[str, Any]:
    return discovery.assign(state, seen, Request("c0", "c0", preferred), deciding=Lock(), ages=discovery.Ages())


def begun(state: SqliteState, session: str, kind: str) -> None:
    where = [{"client_id": "c0", "combiner": "a"}]
    round_id = f"{session}.1.{kind}.1"
    document = {"_id": round_id, "session": session, "status": "started", "kind": kind, "participants": where}
    state.insert("rounds", document)


def test_a_client_does_not_move_while_a_prediction_waits_for_it(state: SqliteState) -> None:
    """As while a session's round does: nothing would follow it to another combiner."""
    assert ask(state, [combiner("a")])["combiner"] == "a"
    state.insert("predictions", {"_id": "p-1", "slot": ACTIVE, "status": "running"})
    begun(state, "p-1", "predict")
    with pytest.raises(NoCombiner):
        ask(state, [combiner("a", up=False), combiner("b")])


def test_a_client_does_not_move_to_the_combiner_it_prefers_while_a_round_waits_for_it(state: SqliteState) -> None:
    """Its own was never lost, so nothing would follow it."""
    assert ask(state, [combiner("a"), combiner("b", up=False)], "b")["combiner"] == "a"
    state.insert("sessions", {"_id": "s", "slot": ACTIVE})
    begun(state, "s", "train")
    assert ask(state, [combiner("a"), combiner("b")], "b")["combiner"] == "a"


# Two leaders


async def test_a_new_leader_goes_on_with_what_the_former_wrote_last(tmp_path: Path) -> None:
    """I1, I9: the former moved a client between the new one's look at the round and its taking over."""
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        stays = await laid.client("c0", "a", learns(2.0))
        moved = await laid.client("c1", "b", learns(4.0))
        as_read = replace(laid.plan(stays, moved, clients_required=2), term=2)
        away = replace(moved.connected, combiner="a")
        as_read = replace(as_read, participants=[stays.connected, away])  # epoch 1
        written = as_read.moved({"c1": "b"})  # epoch 2, by the former leader, a moment later
        laid.desk.state.insert("rounds", replace(written, term=1).document())
        result = await soon(laid.round(as_read).run())
        assert laid.value(result.model) == 3.0
        assert statuses(laid) == {"c0": ("accepted", "a"), "c1": ("accepted", "b")}


async def test_a_leader_that_was_replaced_tells_no_combiner_that_the_round_has_failed(tmp_path: Path) -> None:
    """I1: they would forget what they had accepted for the round that goes on."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        accepted, waits = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "a", hangs)
        theirs = Desk.open(laid.desk.settings)
        laid.stack.callback(theirs.close)
        frozen = RoundRun(theirs, laid.network, laid.plan(accepted, waits, clients_required=2), fresh=lambda: False)
        stale = asyncio.create_task(frozen.run())
        await soon(waits.given.wait())
        laid.desk.state.replace("rounds", laid.document() | {"term": 2})
        await fails(waits, waits.tasks[0])
        with pytest.raises(StaleTerm):
            await soon(stale)
        await asyncio.sleep(0.5)  # it would be told beside the document
        assert [r.order.round_id for r in laid.combiners["a"].rounds.known()] == ["s.1.train.1"]


async def test_the_former_leader_closing_its_rounds_document_fails_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both settle the round of a record that is in the trail, at the same moment."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(2.0))
        session = create(laid, rounds=1)
        plan = replace(laid.plan(round_id=f"{session}.1.train.1"), session=session)
        former = await laid.client("c1", "a", learns(4.0))
        plan = replace(plan, participants=[former.connected])
        await soon(laid.round(plan).run())
        closed = laid.document(plan.round_id)
        laid.desk.state.replace("rounds", closed | {"status": "started"})
        find, met = type(laid.desk.state).find, list[int]()

        def find_and_close(self: Any, collection: str, *args: Any, **more: Any) -> Any:
            found = find(self, collection, *args, **more)
            if collection == "rounds" and not met:
                met.append(1)
                self.replace("rounds", found[0] | {"status": "committed"})
            return found

        monkeypatch.setattr(type(laid.desk.state), "find", find_and_close)
        driver = Driver(laid.desk, laid.network, term=2, fresh=lambda: True)
        leading = asyncio.create_task(driver.lead(asyncio.Event()))
        await until(lambda: laid.desk.sessions.get(session)["ended"])
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        ended = laid.desk.sessions.get(session)
        assert (ended["status"], ended["code"]) == ("finished", "")


async def test_a_frozen_leader_opens_no_session_that_has_ended(tmp_path: Path) -> None:
    """It thaws as it is about to note that a prediction runs first."""
    async with reducer(tmp_path) as laid:
        session = create(laid)
        as_read = laid.desk.sessions.get(session)
        laid.desk.sessions.end(session, "finished")
        driver = Driver(laid.desk, laid.network, term=1, fresh=lambda: False)
        laid.desk.state.insert("predictions", {"_id": "p-1", "slot": "p-1", "status": "finished"})
        with contextlib.suppress(StaleTerm):
            await soon(driver._predict("p-1", as_read))
        assert laid.desk.sessions.get(session)["status"] == "finished"


# A combiner that comes back at every stage


async def test_a_combiner_that_is_lost_twice_in_a_long_round_loses_no_client(tmp_path: Path) -> None:
    """I1, I9: told to stop twice, the second time long after the first."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        first = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(first, clients_required=1, round_timeout=60.0), grace_s=0.7)
        await soon(first.given.wait())
        for answer in (hangs, learns(4.0)):
            await laid.combiners["a"].rounds.drain(0.0)
            await laid.kill("a")
            await until(lambda: lost(laid) == ["a"] or round_.done())
            assert not round_.done(), round_.exception()
            await laid.combiner("a")
            client = await laid.client("c0", "a", answer)
            await soon(client.given.wait())
            await asyncio.sleep(0.8)  # the grace has passed: this is what the test is about
        assert laid.value((await soon(round_)).model) == 4.0


# A client between two combiners


async def trained_elsewhere(set_up: Bench, laid: Table) -> None:
    """The client has trained for the round under a combiner that is lost; this one has not been given it yet."""
    await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
    set_up.live()
    await set_up.attached()
    await laid.start("c0", settings=set_up.settings("wait"))
    await until(lambda: set_up.runs)
    await laid.start("other", settings=set_up.settings("wait"), epoch=2)
    await until(lambda: laid.combiner.rounds.get("r1").phase == "collect")


async def answered(laid: Table) -> str:
    async with asyncio.timeout(4.0):
        while "c0" not in (answers := laid.combiner.rounds.get("r1").answers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return answers["c0"].code or answers["c0"].status


async def test_a_client_that_is_given_to_a_combiner_while_it_asks_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: it has moved with its upload to a combiner that the reducer gives it to only then."""
    check = Intake.check_upload

    def given_just_then(self: Intake, start: Any) -> None:
        try:
            check(self, start)
        except NotAParticipant:
            order = self._rounds.get("r1").order
            self._rounds.start(replace(order, participants={"c0": Participant("c0", 0, 0)}, epoch=3))
            raise

    monkeypatch.setattr(Intake, "check_upload", given_just_then)
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await trained_elsewhere(set_up, laid)
        set_up.go()
        assert await answered(laid) == "accepted"


async def test_a_task_that_is_given_again_while_its_result_is_being_refused_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8, I9: command and refusal come by different streams, the command first."""
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await trained_elsewhere(set_up, laid)
        taken, upload, take, refused = asyncio.Event(), Transfers.upload, Tasks.take, list[int]()

        def take_and_say(self: Tasks, command: pb.RunTask) -> None:
            take(self, command)
            taken.set()

        async def given_meanwhile(self: Transfers, *args: Any, **more: Any) -> None:
            if not refused:
                refused.append(1)
                await laid.start("other", "c0", settings=set_up.settings("wait"), epoch=3)
                await asyncio.wait_for(taken.wait(), 10)
                raise NotAParticipant("as it was a moment ago")
            await upload(self, *args, **more)

        monkeypatch.setattr(Tasks, "take", take_and_say)
        monkeypatch.setattr(Transfers, "upload", given_meanwhile)
        set_up.go()
        assert await answered(laid) == "accepted"


async def test_a_client_that_was_given_up_as_away_is_asked_when_it_is_given_to_its_combiner_again(
    tmp_path: Path,
) -> None:
    """I1, I9: the combiner was cut off from its clients too, and had given them up before it was fenced."""
    async with table(tmp_path, reconnect_grace_s=0.1) as laid:
        (one,) = await stage(laid, "one")
        await laid.start("one")
        await one.task()
        one.leave()
        outcome = await laid.outcome()
        assert [c.code for c in outcome.clients] == ["client_lost"]
        await one.attach()
        await laid.start("one", epoch=2)
        await until(lambda: laid.combiner.rounds.get("r1").phase in ("collect", "done"))
        assert "one" not in laid.combiner.rounds.get("r1").answers
        assert (await one.task()).task_id == "r1.one"


async def test_a_combiner_that_refuses_the_reducers_token_for_a_moment_costs_no_round(tmp_path: Path) -> None:
    """The admin token is being changed: the combiner has read its file, the reducer not yet."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(2.0))
        refused: list[int] = []
        link = CombinerLink.run_round

        async def refuses_once(self: CombinerLink, *args: Any) -> control.RoundOutcome:
            if not refused:
                refused.append(1)
                raise Unauthenticated("this combiner does not know the token")
            return await link(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CombinerLink, "run_round", refuses_once)
            client = next(c for c in (await laid.network.survey())[0].clients())
            plan = replace(laid.plan(clients_required=1), participants=[client])
            assert laid.value((await soon(laid.round(plan).run())).model) == 2.0


async def test_two_combiners_with_equal_sums_are_both_counted(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        one, two = await laid.client("c0", "a", learns(2.0)), await laid.client("c1", "b", learns(2.0))
        assert laid.value((await soon(laid.round(laid.plan(one, two, clients_required=2)).run())).model) == 2.0


# What must end


async def test_a_round_is_over_at_its_time_whatever_its_combiner_went_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: a combiner that is started again is given what is left of the round, not the whole time once more."""
    asked: list[float] = []

    async def away(_: CombinerLink, name: str, request: control.StartRoundRequest, *more: Any) -> control.RoundOutcome:
        asked.append(request.round_timeout_s)
        await asyncio.sleep(0.5)  # so long it was there
        raise CombinerUnreachable(f"{name} was started again")

    monkeypatch.setattr(CombinerLink, "run_round", away)
    async with reducer(tmp_path, combiners=("a",)) as laid:
        client = await laid.client("c0", "a", hangs)
        round_ = running(laid, laid.plan(client, round_timeout=60.0), grace_s=10.0)
        await until(lambda: len(asked) == 2)
        round_.cancel()
        await asyncio.gather(round_, return_exceptions=True)
    assert asked[1] < asked[0] - 0.4


async def test_a_frozen_leader_ends_no_prediction(tmp_path: Path) -> None:
    """Fencing: it was frozen between its look at the lease and its write."""
    async with reducer(tmp_path) as laid:
        predictions, looks = laid.desk.predictions, list[bool]()
        laid.desk.state.insert("predictions", {"_id": "p-1", "slot": ACTIVE, "status": "running"})

        def fresh() -> bool:
            looks.append(not looks)
            if looks[-1]:
                predictions.begin("p-1", 2)  # another leads by now
            return looks[-1]

        with pytest.raises(StaleTerm):
            await Predicting(laid.desk, laid.network, term=1, fresh=fresh)._end("p-1", "failed", code="x", reason="y")
        assert (predictions.get("p-1")["status"], len(looks)) == ("running", 2)


async def test_a_mistake_in_a_round_leaves_no_combiner_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: the session fails with a reason, its round too, and the combiners are told."""
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        session = create(laid, rounds=1)

        def broken(*_: object) -> None:
            raise KeyError("a mistake")

        monkeypatch.setattr(RoundRun, "_check_quorum", broken)
        driver = Driver(laid.desk, laid.network, term=1, fresh=lambda: True)
        leading = asyncio.create_task(driver.lead(asyncio.Event()))
        await until(lambda: laid.desk.sessions.get(session)["ended"])
        await until(lambda: laid.document(f"{session}.1.train.1")["status"] == "failed")
        await laid.network.survey()
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        assert "a mistake" in laid.document(f"{session}.1.train.1")["reason"]
        assert laid.combiners["a"].rounds.known() == []


# What it costs


async def test_clients_that_arrive_one_after_another_move_together() -> None:
    """Each epoch gives every open client of a combiner its task again."""
    clients = [ConnectedClient(f"c{k}", f"c{k}", k, "b") for k in range(3)]
    plan = Plan("r", "s", 1, "train", "m", "p", clients, SessionConfig(), 1, lost=frozenset("b"))

    async def nobody(*_: object) -> Any:
        raise AssertionError

    parts = Parts(plan, nobody, survey=nobody, save=nobody, grace_s=1.0)
    looks = [{"c0": "a"}, {"c0": "a", "c1": "a"}, {"c0": "a", "c1": "a"}, dict.fromkeys(("c0", "c1", "c2"), "a")]
    assert [parts._settled(found) for found in looks] == [False, False, True, True]
