"""What the reducer shows, made of documents and of what combiners report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedn.config import ReducerSettings
from fedn.reducer.desk import Desk
from fedn.reducer.network import Seen
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.views import combiner_view, live_view, network_view, rounds_view, session_view
from fedn.wire.v1 import control_pb2 as control

SEED = "a" * 64


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk.open(ReducerSettings(dir=tmp_path))
    yield desk
    desk.close()


def seen(name: str, *rounds: control.RunningRound, clients: int = 0, up: bool = True) -> Seen:
    attached = [
        control.AttachedClient(client_id=f"{name}{k}", name=f"{name}-{k}", part=k, task="train", cpus=2)
        for k in reversed(range(clients))
    ]
    report = control.ReportReply(combiner=name, clients=attached, rounds=rounds) if up else None
    return Seen(name, "identity", f"{name}:1", report)


def running(round_id: str, **progress: Any) -> control.RunningRound:
    return control.RunningRound(round_id=round_id, progress=control.RoundProgress(**progress))


def document(desk: Desk, number: int, kind: str, attempt: int = 1, **more: Any) -> None:
    round_id = f"s.{number}.{kind}.{attempt}"
    begun = {"_id": round_id, "round_id": round_id, "session": "s", "round": number, "kind": kind, "participants": [1]}
    desk.state.insert("rounds", begun | {"started": float(100 * number + attempt), "status": "started"} | more)


def line(name: str, status: str = "accepted") -> dict[str, str]:
    return {
        "name": name,
        "status": status,
        "code": "" if status == "accepted" else "x",
        "reason": "",
        "stderr_tail": "",
    }


def test_a_combiner_and_its_clients_by_part() -> None:
    view = combiner_view(seen("a", clients=2))
    assert (view["name"], view["address"], view["up"]) == ("a", "a:1", True)
    assert [client["part"] for client in view["clients"]] == [0, 1]
    assert combiner_view(seen("b", up=False)) == {
        "name": "b",
        "address": "b:1",
        "up": False,
        "reason": "",
        "late": 0,
        "clients": [],
    }


def test_an_empty_network(desk: Desk) -> None:
    view = network_view(desk, [])
    assert (view["connected"], view["seed"], view["package"], view["session"]) == (0, None, None, None)
    assert view["trail"] == {"records": 0, "latest": None, "missing": None}


def test_a_network_with_everything(desk: Desk) -> None:
    desk.trail.plant(SEED, time=1.0)
    package = {"_id": "package", "digest": "d", "name": "p", "size": 3, "entry_points": {"train": ["x"]}}
    desk.state.insert("context", package)
    session = desk.sessions.create(SessionConfig(rounds=3))
    view = network_view(desk, [seen("a", clients=2), seen("b", up=False)])
    assert SEED in view["trail"]["missing"]  # there is a record of it, and no blob
    assert (view["connected"], view["seed"]) == (2, SEED)
    assert view["package"] == {"digest": "d", "name": "p", "size": 3}
    assert (view["session"]["id"], view["session"]["status"]) == (session["_id"], "waiting")


def test_a_round_is_shown_by_its_last_attempt_and_with_its_validation(desk: Desk) -> None:
    document(desk, 1, "train", 1, status="failed", code="quorum_not_met", reason="none")
    document(desk, 1, "train", 2, status="committed", clients=[line("c0"), line("c1", "failed")], model="m")
    document(
        desk, 1, "validate", metrics={"loss": 0.5, "accuracy": 0.9}, num_examples=10, clients=[line("c2", "failed")]
    )
    document(desk, 10, "train")
    document(desk, 9, "train")
    first, *later = rounds_view(desk, "s")
    assert [r["round"] for r in later] == [9, 10]
    assert (first["status"], first["updates"], first["model"]) == ("committed", 1, "m")
    assert (first["loss"], first["accuracy"], first["validated"]) == (0.5, 0.9, 10)
    assert [failure["name"] for failure in first["failures"]] == ["c1", "c2"]
    assert (later[0]["loss"], later[0]["validated"]) == (None, 0)


def test_an_ended_session_is_not_live(desk: Desk) -> None:
    session = desk.sessions.create(SessionConfig())
    round_id = f"{session['_id']}.2.train.1"
    there = [seen("a", running(round_id, phase="collect", participants=1))]
    view = session_view(desk, session, there)
    assert view["live"]["round"] == 2
    ended = desk.sessions.end(session["_id"], "failed", code="x", reason="y")
    view = session_view(desk, ended, there)
    assert (view["live"], view["code"], view["reason"]) == (None, "x", "y")


def test_what_runs_is_summed_over_the_combiners() -> None:
    one = running("s.2.train.1", phase="collect", participants=3, answered=1, failed=1, busy=["a0"])
    other = running("s.2.train.1", phase="done", participants=2, answered=2)
    foreign = running("t.9.train.1", phase="collect", participants=9)
    live = live_view("s", [seen("a", one, foreign, clients=1), seen("b", other), seen("c", up=False)])
    assert live == {
        "round": 2,
        "kind": "train",
        "phases": ["collect"],
        "participants": 5,
        "answered": 3,
        "failed": 1,
        "busy": ["a-0"],
    }


def test_a_round_that_a_lost_combiner_still_holds_is_not_the_one_that_runs() -> None:
    stale = running("s.2.train.1", phase="collect", participants=3, busy=["a0"])
    for newer in ("s.2.validate.1", "s.2.train.2", "s.10.train.1"):
        now = running(newer, phase="collect", participants=2)
        live = live_view("s", [seen("a", stale), seen("b", now)])
        assert live is not None
        assert (live["participants"], live["busy"]) == (2, [])


def test_between_combiners_and_commit_the_round_is_being_reduced() -> None:
    live = live_view("s", [seen("a", running("s.1.train.1", phase="done"))])
    assert live is not None
    assert live["phases"] == ["reduce"]
    assert live_view("s", [seen("a")]) is None


def test_settings_for_a_name_that_no_client_has_had_are_a_warning(desk: Desk) -> None:
    config = SessionConfig.parse({"client_settings": {"c0": {"epochs": 2}, "c1": {"epochs": 2}}})
    session = desk.sessions.create(config)
    desk.state.insert("clients", {"_id": "i", "part": 0, "seat": None, "name": "c0"})
    assert session_view(desk, session, [])["warnings"] == ["client_settings name 'c1', and no client has had this name"]
    desk.state.insert("clients", {"_id": "j", "part": 1, "seat": None, "name": "c1"})  # it came later
    assert session_view(desk, session, [])["warnings"] == []
