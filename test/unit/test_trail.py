from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from fedn.errors import Conflict, SeedExists, StaleTerm, TrailBroken
from fedn.reducer.trail import Commit, Trail, id_of, seed_record
from fedn.storage.sqlite import SqliteState
from fedn.trail.reader import verify_file
from fedn.trail.records import FORM, GENESIS, canonical_json, record_hash
from fedn.trail.walk import verify
from test.unit.trail_bench import Blobs, commit, digest, export, forged


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


def test_two_reducers_that_race_cannot_fork_the_trail(tmp_path: Path, blobs: Blobs) -> None:
    """Each has its own connection, and goes on as soon as it lost: one chain, each round once (I5)."""
    rounds, start = 15, Barrier(2)
    states = {session: SqliteState(tmp_path / "state.db") for session in ("s-1", "s-2")}
    Trail(states["s-1"]).plant(blobs.put(b"seed"), time=0.0)

    def leads(session: str) -> int:
        trail, lost = Trail(states[session]), 0
        start.wait()
        for number in range(1, rounds + 1):
            done = replace(commit(blobs, number, session), model=blobs.put(f"{session} {number}".encode()))
            while True:
                try:
                    trail.append(replace(done, parent=(trail.latest() or {})["model"]))
                    break
                except StaleTerm:
                    lost += 1
        return lost

    with ThreadPoolExecutor(2) as pool:
        lost = sum(pool.map(leads, states))
    records = Trail(states["s-1"]).records()
    for state in states.values():
        state.close()
    assert lost > 0, "they never met"
    assert len(records) == 1 + 2 * rounds
    assert verify(records, blobs, finished={"s-1": rounds, "s-2": rounds}).records == len(records)


def test_a_new_lineage_goes_on_with_the_chain_and_not_with_the_model(trail: Trail, blobs: Blobs) -> None:
    trail.append(commit(blobs, 1))
    begun = trail.begin_lineage(blobs.put(b"other"), time=3.0)
    assert (begun["seq"], begun["lineage"], begun["parent"]) == (2, 2, "")
    assert trail.latest() == trail.seed() == begun
    assert trail.begin_lineage(digest(b"other"), time=4.0) == begun  # asked again: nothing was trained from it
    after = trail.append(commit(blobs, 1, "s-2", parent=b"other"))
    assert (after["seq"], after["lineage"], after["parent"]) == (3, 2, digest(b"other"))
    with pytest.raises(SeedExists, match="new lineage"):
        trail.plant(digest(b"seed"), time=5.0)
    assert trail.plant(digest(b"other"), time=5.0) == begun
    verified = verify(trail.records(), blobs)
    assert (verified.records, verified.lineages, verified.last) == (4, 2, after["hash"])


def test_an_empty_trail_begins_with_its_first_lineage_either_way(state: SqliteState, blobs: Blobs) -> None:
    assert Trail(state).begin_lineage(blobs.put(b"seed"), time=0.0)["round_key"] == "seed"
    assert verify(Trail(state).records(), blobs).lineages == 1


def test_a_round_of_the_lineage_before_is_not_committed(trail: Trail, blobs: Blobs) -> None:
    trail.begin_lineage(blobs.put(b"other"), time=1.0)
    with pytest.raises(Conflict, match="lineage 2 was begun") as caught:
        trail.append(commit(blobs, 1))
    assert not isinstance(caught.value, StaleTerm)  # its session must end with this reason, not begin again


def test_of_two_lineages_that_are_begun_at_once_one_is_refused(
    trail: Trail, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = trail.latest()
    trail.begin_lineage(blobs.put(b"other"), time=1.0)
    monkeypatch.setattr(trail, "latest", lambda: seen)
    with pytest.raises(Conflict, match="at this very moment"):
        trail.begin_lineage(blobs.put(b"third"), time=1.0)
    assert len(trail.records()) == 2


def test_a_trail_from_before_there_were_lineages_verifies_and_goes_on(state: SqliteState, blobs: Blobs) -> None:
    former = {k: v for k, v in seed_record(blobs.put(b"seed"), None, time=0.0).items() if k != "lineage"}
    state.insert("trail", {"_id": id_of(0)} | former | {"hash": record_hash(former)})
    trail = Trail(state)
    assert trail.append(commit(blobs, 1))["lineage"] == 1
    assert trail.begin_lineage(blobs.put(b"other"), time=1.0)["lineage"] == 2
    assert verify(trail.records(), blobs).lineages == 2


Records = list[dict[str, Any]]


def change(position: int, *, rehash: bool = False, **values: Any) -> Callable[[Records, Blobs], object]:
    """Tamper with a record's fields, and perhaps hide it by hashing it again."""

    def tamper(records: Records, blobs: Blobs) -> None:
        records[position].update(values)
        if rehash:
            records[position]["hash"] = record_hash(records[position])

    return tamper


HEAVIER = [{"combiner": "north", "model": digest(b"sum"), "weight": 11}]


def hash_again(records: Records, start: int = 0) -> None:
    """What one does who can rewrite the whole chain."""
    previous = GENESIS if start == 0 else records[start - 1]["hash"]
    for seq, record in enumerate(records[start:], start):
        record.update(seq=seq, previous=previous)
        previous = record["hash"] = record_hash(record)


def drop(position: int, *, hide: bool = False) -> Callable[[Records, Blobs], object]:
    """Take a record out; `hide` makes the chain whole again."""

    def tamper(records: Records, blobs: Blobs) -> None:
        model = records.pop(position)["parent"]
        if hide:
            records[position]["parent"] = model
            hash_again(records)

    return tamper


def swap_receipts(records: Records, blobs: Blobs) -> None:
    records[1]["receipt"], records[2]["receipt"] = records[2]["receipt"], records[1]["receipt"]
    hash_again(records)


def seeds(position: int, **values: Any) -> Callable[[Records, Blobs], object]:
    """Make a record a seed, and hide it."""

    def tamper(records: Records, blobs: Blobs) -> None:
        former = seed_record(records[position]["model"], records[position - 1], time=1.0)
        records[position] = former | values
        hash_again(records)

    return tamper


def rewrite_receipt(change: Callable[[dict[str, Any]], object]) -> Callable[[Records, Blobs], object]:
    """Put another receipt in the place of record 2's, with all hashes right."""

    def tamper(records: Records, blobs: Blobs) -> None:
        receipt = json.loads(blobs.contents[records[2]["receipt"]])
        change(receipt)
        records[2]["receipt"] = blobs.put(canonical_json(receipt))
        hash_again(records)

    return tamper


def twice(receipt: dict[str, Any]) -> None:
    (update,) = receipt["updates"]
    receipt["updates"] = [update | {"num_examples": 5}] * 2


TAMPERINGS: dict[str, tuple[Callable[[Records, Blobs], object], str]] = {
    "a weight": (change(2, combiners=HEAVIER), "record 2: its content"),
    "a weight, hashed again": (change(2, rehash=True, combiners=HEAVIER), "record 2: its receipt's weights"),
    "a model": (change(1, model=digest(b"seed")), "record 1: its content"),
    "a time, hashed again": (change(1, rehash=True, time=5.0), "record 2: does not follow"),
    "a parent": (change(3, rehash=True, parent=digest(b"x")), "record 3: its parent"),
    "a missing record": (drop(1), "record 1: its number is 2"),
    "a missing record, hidden": (drop(1, hide=True), "record 1: round 2 of session s-1 follows round 0"),
    "another missing record, hidden": (drop(2, hide=True), "record 2: round 3 of session s-1 follows round 1"),
    "the end": (drop(3), "session s-1 finished with 3 rounds, and the trail ends after 2 of them"),
    "a number twice": (lambda records, blobs: records.insert(2, dict(records[1])), "record 2: its number is 1"),
    "the order": (lambda records, blobs: records.reverse(), "record 0: its number is 3"),
    "two records' order": (lambda records, blobs: records.insert(1, records.pop(2)), "record 1: its number is 2"),
    "no record": (lambda records, blobs: records.clear(), "the trail is empty"),
    "a blob": (lambda records, blobs: blobs.contents.update({records[1]["model"]: b"x"}), "record 1: its model"),
    "a lost blob": (lambda records, blobs: blobs.contents.pop(records[3]["model"]), "record 3: its model"),
    "a lost receipt": (lambda records, blobs: blobs.contents.pop(records[3]["receipt"]), "record 3: its receipt"),
    "a receipt": (
        lambda records, blobs: blobs.contents.update({records[2]["receipt"]: b"{}"}),
        "record 2: its receipt",
    ),
    "swapped receipts": (swap_receipts, "record 1: its receipt is that of 's-1.2.train.1'"),
    "a receipt's round": (rewrite_receipt(lambda r: r.update(round_id="s-2.2")), "record 2: its receipt is that of"),
    "a client twice": (rewrite_receipt(twice), "record 2: its receipt names a client twice"),
    "a receipt that is none": (rewrite_receipt(lambda r: r.pop("updates")), "record 2: its receipt cannot be read"),
    "a receipt of text": (rewrite_receipt(lambda r: r.update(updates="x")), "record 2: its receipt cannot be read"),
    "no receipt": (change(2, rehash=True, receipt=""), "record 2: has no receipt"),
    "a seed in a round's place": (seeds(2), "record 3: its lineage is not that of its parent"),
    "a seed with a parent": (seeds(2, parent=digest(b"seed")), "record 2: a seed has no parent"),
    "a lineage left out": (seeds(2, lineage=3, round_key="seed/3"), "record 2: its lineage is 3, and 2 is next"),
    "a seed's key": (seeds(2, round_key="seed"), "record 2: its round_key is not its lineage's"),
    "a seed that was trained": (seeds(2, combiners=HEAVIER), "record 2: a seed is not trained in a round"),
}


def reason(check: Callable[[], object]) -> str:
    with pytest.raises(TrailBroken) as caught:
        check()
    return caught.value.reason


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_named_in_the_same_words_online_and_in_a_file(
    what: str, trail: Trail, blobs: Blobs, tmp_path: Path
) -> None:
    for number in range(1, 4):
        trail.append(commit(blobs, number))
    records, finished = trail.records(), {"s-1": 3}
    verify(records, blobs, finished=finished)
    head = export(records, blobs, finished=finished).head
    tamper, said = TAMPERINGS[what]
    tamper(records, blobs)
    online = reason(lambda: verify(records, blobs, finished=finished))
    file = forged(tmp_path / "trail.tar", replace(head, records=len(records)), records, blobs)
    offline = reason(lambda: verify_file(file))
    assert said in online
    if "lost" in what:  # by the record; and there it is another place where it is missing
        assert said in offline
    else:
        assert online == offline


FIELDS = [*FORM, "lineage"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("hide", [False, True])
def test_no_field_of_a_record_can_be_changed(field: str, hide: bool, trail: Trail, blobs: Blobs) -> None:
    for number in range(1, 4):
        trail.append(commit(blobs, number))
    records = trail.records()
    before = records[2][field]
    other: Any = {int: 7, float: 7.0, list: [], dict: {}}.get(type(before), "s-9")
    records[2][field] = digest(b"other") if isinstance(before, str) and len(before) == 64 else other
    if hide and field != "hash":
        records[2]["hash"] = record_hash(records[2])
    assert reason(lambda: verify(records, blobs)).startswith(("record 2: ", "record 3: does not follow"))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, [None], {"a": float("nan")}, -1, True, "é", "\ud800"])
def test_a_field_of_another_form_is_named(field: str, value: Any, trail: Trail, blobs: Blobs) -> None:
    trail.append(commit(blobs, 1))
    records = trail.records()
    records[1][field] = value
    assert reason(lambda: verify(records, blobs)).startswith("record 1: ")
    del records[1][field]
    assert reason(lambda: verify(records, blobs)).startswith("record 1: ")


def test_something_that_is_no_record_is_named(blobs: Blobs) -> None:
    assert reason(lambda: verify(["x"], blobs)) == "record 0: is not a record"


def test_what_only_a_hash_that_was_noted_shows(trail: Trail, blobs: Blobs) -> None:
    """The last record hashed again, and an end that was cut before its session finished: nothing else tells."""
    for number in range(1, 4):
        trail.append(commit(blobs, number))
    records = trail.records()
    known = records[3]["hash"]
    assert verify(records, blobs, known=known).last == known
    assert verify(records, blobs, known=records[1]["hash"]).last == known
    change(3, rehash=True, time=9.0)(records, blobs)
    for tampered in (records, records[:3]):
        verify(tampered, blobs)
        assert "which the trail is known to have had" in reason(lambda t=tampered: verify(t, blobs, known=known))  # type: ignore[misc]


def test_a_receipt_that_cannot_be_read_is_named(trail: Trail, blobs: Blobs) -> None:
    broken = blobs.put(b"not json")
    done = commit(blobs, 1)
    trail.append(Commit(**{**done.__dict__, "receipt": broken}))
    with pytest.raises(TrailBroken, match="receipt cannot be read"):
        verify(trail.records(), blobs)
