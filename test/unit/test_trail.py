from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedn.errors import Conflict, SeedExists, StaleTerm, TrailBroken
from fedn.reducer.trail import Commit, Trail
from fedn.storage.sqlite import SqliteState
from fedn.trail.records import record_hash
from fedn.trail.walk import verify
from test.unit.trail_bench import Blobs, commit, digest


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def trail(state: SqliteState, blobs: Blobs) -> Trail:
    trail = Trail(state)
    trail.plant(blobs.put(b"seed"), time=0.0)
    return trail


def test_a_trail_of_eleven_rounds_verifies(trail: Trail, blobs: Blobs) -> None:
    for number in range(1, 12):
        trail.append(commit(blobs, number))
    records = trail.records()
    assert [r["seq"] for r in records] == list(range(12))
    assert verify(records, blobs).records == 12
    latest = trail.latest()
    assert latest is not None
    assert latest["round"] == 11


def test_the_same_seed_again_is_fine_and_another_is_refused(trail: Trail, blobs: Blobs) -> None:
    again = trail.plant(blobs.put(b"seed"), time=9.0)
    assert again["time"] == 0.0
    with pytest.raises(SeedExists):
        trail.plant(blobs.put(b"other"), time=9.0)
    assert len(trail.records()) == 1


def test_a_round_is_committed_once(trail: Trail, blobs: Blobs) -> None:
    first = trail.append(commit(blobs, 1))
    assert trail.append(commit(blobs, 1)) == first
    assert len(trail.records()) == 2


def test_a_trail_without_seed_takes_no_round(state: SqliteState, blobs: Blobs) -> None:
    with pytest.raises(TrailBroken):
        Trail(state).append(commit(blobs, 1))


def test_two_leaders_cannot_fork_the_trail(state: SqliteState, trail: Trail, blobs: Blobs) -> None:
    behind = Trail(state)
    seen = behind.latest()
    trail.append(commit(blobs, 1))
    behind.latest = lambda: seen  # type: ignore[method-assign]  # it has read before the other wrote
    with pytest.raises(StaleTerm):
        behind.append(commit(blobs, 1, session="s-2"))


def test_a_round_that_was_trained_from_another_model_than_the_newest_is_not_committed(
    trail: Trail, blobs: Blobs
) -> None:
    trail.append(commit(blobs, 1))
    with pytest.raises(StaleTerm, match="gone on"):
        trail.append(commit(blobs, 1, session="s-2"))
    assert len(trail.records()) == 2


def test_the_store_lets_nobody_change_or_delete_a_record(state: SqliteState, trail: Trail) -> None:
    record = state.find("trail")[0]
    with pytest.raises(Conflict):
        state.replace("trail", record | {"model": "0" * 64})
    with pytest.raises(Conflict):
        state.delete("trail", record["_id"], version=record["_version"])


Records = list[dict[str, Any]]


def change(position: int, *, rehash: bool = False, **values: Any) -> Callable[[Records, Blobs], object]:
    """Tamper with a record's fields, and perhaps hide it by hashing it again."""

    def tamper(records: Records, blobs: Blobs) -> None:
        records[position].update(values)
        if rehash:
            records[position]["hash"] = record_hash(records[position])

    return tamper


HEAVIER = [{"combiner": "north", "model": digest(b"sum"), "weight": 11}]

TAMPERINGS: dict[str, tuple[Callable[[Records, Blobs], object], str]] = {
    "a weight": (change(2, combiners=HEAVIER), "record 2: its content"),
    "a weight, hashed again": (change(2, rehash=True, combiners=HEAVIER), "record 2: its receipt's weights"),
    "a model": (change(1, model=digest(b"seed")), "record 1: its content"),
    "a time, hashed again": (change(1, rehash=True, time=5.0), "record 2: does not follow"),
    "a parent": (change(3, rehash=True, parent=digest(b"x")), "record 3: its parent"),
    "a missing record": (lambda records, blobs: records.pop(1), "record 1: its number is 2"),
    "the order": (lambda records, blobs: records.reverse(), "record 0: its number is 3"),
    "a blob": (lambda records, blobs: blobs.contents.update({records[1]["model"]: b"x"}), "record 1: its model"),
    "a lost blob": (lambda records, blobs: blobs.contents.pop(records[3]["model"]), "the blob is missing"),
    "a receipt": (
        lambda records, blobs: blobs.contents.update({records[2]["receipt"]: b"{}"}),
        "record 2: its receipt",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_named(what: str, trail: Trail, blobs: Blobs) -> None:
    for number in range(1, 4):
        trail.append(commit(blobs, number))
    records = trail.records()
    verify(records, blobs)
    tamper, said = TAMPERINGS[what]
    tamper(records, blobs)
    with pytest.raises(TrailBroken) as caught:
        verify(records, blobs)
    assert said in caught.value.reason


def test_a_receipt_that_cannot_be_read_is_named(trail: Trail, blobs: Blobs) -> None:
    broken = blobs.put(b"not json")
    done = commit(blobs, 1)
    trail.append(Commit(**{**done.__dict__, "receipt": broken}))
    with pytest.raises(TrailBroken, match="receipt cannot be read"):
        verify(trail.records(), blobs)
