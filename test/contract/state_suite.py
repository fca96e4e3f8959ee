"""What every state store must do. An implementation's test class inherits `StateSuite` and gives the fixtures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fedn.errors import AlreadyExists, BadInput, Conflict, NotFound, Unavailable, VersionConflict
from fedn.storage.state import COLLECTIONS, State

WRITER = """
for number in range(100_000):
    state.insert("trail", {"_id": f"r{number}", "seq": number, "text": "x" * 2_000})
    print(number, flush=True)
"""

ADDER = """
from fedn.errors import VersionConflict
for _ in range(25):
    while True:
        document = state.get("context", "counter")
        try:
            state.replace("context", document | {"n": document["n"] + 1})
            break
        except VersionConflict:
            continue
state.close()
"""


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)` … `work(count - 1)` at once; a failure in any of them fails the test."""
    together = threading.Barrier(count)

    def run(number: int) -> None:
        together.wait(30)
        work(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


def process(opening: str, script: str) -> subprocess.Popen[str]:
    """Another Python process, which opens the store as `state` and runs the script."""
    return subprocess.Popen([sys.executable, "-c", opening + script], stdout=subprocess.PIPE, text=True)


class StateSuite:
    """Needs a fixture `opening`: Python source that opens the store, the same one each time, as `state`."""

    @pytest.fixture
    def reopen(self, opening: str) -> Iterator[Callable[[], State]]:
        """Open the store once more, as another process would."""
        opened: list[State] = []

        def open_again() -> State:
            names: dict[str, Any] = {}
            exec(opening, names)
            opened.append(names["state"])
            return opened[-1]

        yield open_again
        for state in opened:
            state.close()

    @pytest.fixture
    def state(self, reopen: Callable[[], State]) -> State:
        return reopen()

    # ── documents ──

    def test_a_document_comes_back_as_it_was(self, state: State) -> None:
        document = {
            "_id": "a/b é 🌍",
            "n": 2**63 - 1,
            "x": 0.1,
            "t": True,
            "none": None,
            "list": [1, {"a.b": '\0\n"'}],
            "$key": "näme",
        }
        stored = state.insert("context", document)
        assert stored == document | {"_version": 1}
        assert state.get("context", "a/b é 🌍") == stored
        assert "_version" not in document

    def test_what_is_not_there_is_none(self, state: State) -> None:
        assert state.get("context", "x") is None
        assert state.find("context", where={"a": 1}) == []
        assert state.count("context") == 0

    def test_replace_counts_versions_and_drops_old_fields(self, state: State) -> None:
        first = state.insert("context", {"_id": "a", "old": 1})
        second = state.replace("context", {"_id": "a", "new": 2, "_version": first["_version"]})
        assert second == {"_id": "a", "new": 2, "_version": 2}
        assert state.get("context", "a") == second

    def test_an_old_version_is_refused(self, state: State) -> None:
        first = state.insert("context", {"_id": "a", "n": 0})
        state.replace("context", first | {"n": 1})
        with pytest.raises(VersionConflict):
            state.replace("context", first | {"n": 2})
        with pytest.raises(VersionConflict):
            state.delete("context", "a", version=1)
        assert state.get("context", "a") == {"_id": "a", "n": 1, "_version": 2}

    def test_delete_takes_only_its_document(self, state: State) -> None:
        for name in ("a", "b"):
            state.insert("context", {"_id": name})
        state.delete("context", "a", version=1)
        assert [d["_id"] for d in state.find("context")] == ["b"]
        with pytest.raises(NotFound):
            state.delete("context", "a", version=1)
        with pytest.raises(NotFound):
            state.replace("context", {"_id": "a", "_version": 1})

    def test_clear_takes_all_that_match_and_nothing_else(self, state: State) -> None:
        for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
            state.insert("context", {"_id": name, "colour": colour})
        state.insert("leases", {"_id": "a", "colour": "red"})
        changed = state.replace("context", {"_id": "c", "colour": "red", "n": 1, "_version": 1})
        assert changed["_version"] == 2
        assert state.clear("context", {"colour": "red"}) == 2
        assert [d["_id"] for d in state.find("context")] == ["b"]
        assert [d["_id"] for d in state.find("leases")] == ["a"]
        assert state.clear("context", {"colour": "red"}) == 0
        with pytest.raises(Conflict):
            state.clear("trail", {"seq": 0})

    def test_collections_do_not_mix(self, state: State) -> None:
        state.insert("context", {"_id": "a", "n": 1})
        state.insert("leases", {"_id": "a", "n": 2})
        assert state.find("leases") == [{"_id": "a", "n": 2, "_version": 1}]

    def test_every_collection_is_there(self, state: State) -> None:
        for name in COLLECTIONS:
            assert state.count(name) == 0

    def test_mistakes_of_the_program_are_value_errors(self, state: State) -> None:
        with pytest.raises(ValueError, match="no collection"):
            state.insert("nothing", {"_id": "a"})
        for document in ({}, {"_id": ""}, {"_id": 5}):
            with pytest.raises(ValueError, match="_id"):
                state.insert("context", document)
        with pytest.raises(ValueError, match="_version"):
            state.replace("context", {"_id": "a"})
        for name in ("a.b", "a'b", "$a", ""):
            with pytest.raises(ValueError, match="field"):
                state.find("context", where={name: 1})
        with pytest.raises(ValueError, match="field"):
            state.find("context", sort="x') --")

    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), 2**63, b"x", {1: 2}, "\ud800", [[float("nan")]], {1}]
    )
    def test_what_is_not_json_is_refused(self, state: State, value: object) -> None:
        with pytest.raises(BadInput):
            state.insert("context", {"_id": "a", "value": value})
        assert state.count("context") == 0

    def test_depth_without_end_is_refused(self, state: State) -> None:
        value: object = 0
        for _ in range(2_000):
            value = [value]
        with pytest.raises(BadInput):
            state.insert("context", {"_id": "a", "value": value})

    # ── finding ──

    def test_find_compares_values_and_types(self, state: State) -> None:
        values = {"one": 1, "text": "1", "true": True, "half": 1.5, "null": None, "list": ["1"], "zero": 0}
        for name, value in values.items():
            state.insert("context", {"_id": name, "v": value})
        state.insert("context", {"_id": "absent"})

        def found(value: str | int | bool | None) -> list[str]:
            return [d["_id"] for d in state.find("context", where={"v": value})]

        assert found(1) == ["one"]
        assert found("1") == ["text"]
        assert found(True) == ["true"]
        assert found(False) == []
        assert found(0) == ["zero"]
        assert found('["1"]') == []
        assert found(None) == ["absent", "null"]
        assert state.count("context", {"v": None}) == 2

    def test_all_conditions_must_hold(self, state: State) -> None:
        for number in range(6):
            state.insert("context", {"_id": str(number), "even": number % 2 == 0, "low": number < 3})
        assert [d["_id"] for d in state.find("context", where={"even": True, "low": True})] == ["0", "2"]
        assert state.count("context", {"even": True, "low": False}) == 1
        assert state.find("context", where={"_id": "3"})[0]["low"] is False
        assert state.count("context", {"_version": 1}) == 6

    def test_the_eleventh_round_comes_after_the_second(self, state: State) -> None:
        for number in (10, 2, 11, 1, 9):
            state.insert("context", {"_id": f"round {number}", "round": number})
        assert [d["round"] for d in state.find("context", sort="round")] == [1, 2, 9, 10, 11]
        assert [d["round"] for d in state.find("context", sort="round", descending=True, limit=2)] == [11, 10]

    def test_order_is_by_id_where_nothing_else_decides(self, state: State) -> None:
        for name in ("c", "a", "b"):
            state.insert("context", {"_id": name, "same": 1})
        for found in (state.find("context"), state.find("context", sort="same", descending=True)):
            assert [d["_id"] for d in found] == ["a", "b", "c"]
        assert [d["_id"] for d in state.find("context", sort="_id", descending=True, limit=1)] == ["c"]

    def test_absent_sorts_before_numbers_before_text(self, state: State) -> None:
        for name, value in {"t": "0", "n": 5, "f": 4.5}.items():
            state.insert("context", {"_id": name, "v": value})
        state.insert("context", {"_id": "none"})
        assert [d["_id"] for d in state.find("context", sort="v")] == ["none", "f", "n", "t"]

    # ── promises ──

    def test_a_taken_field_is_named(self, state: State) -> None:
        state.insert("trail", {"_id": "a", "seq": 0, "round_key": "s/1"})
        taken = {
            "_id": {"_id": "a", "seq": 9, "round_key": "s/9"},
            "seq": {"_id": "b", "seq": 0, "round_key": "s/8"},
            "round_key": {"_id": "c", "seq": 7, "round_key": "s/1"},
        }
        for field, document in taken.items():
            with pytest.raises(AlreadyExists) as caught:
                state.insert("trail", document)
            assert caught.value.detail == {"collection": "trail", "field": field}
        assert state.count("trail") == 1

    def test_replace_cannot_take_anothers_field(self, state: State) -> None:
        state.insert("clients", {"_id": "a", "part": 0})
        second = state.insert("clients", {"_id": "b", "part": 1})
        with pytest.raises(AlreadyExists) as caught:
            state.replace("clients", second | {"part": 0})
        assert caught.value.detail["field"] == "part"
        state.replace("clients", second | {"part": 2})
        state.insert("clients", {"_id": "c", "part": 1})

    def test_absent_and_null_do_not_constrain(self, state: State) -> None:
        for name in ("a", "b"):
            state.insert("sessions", {"_id": name})
            state.insert("sessions", {"_id": name * 2, "slot": None})
        assert state.count("sessions", {"slot": None}) == 4

    def test_insert_only_documents_never_change(self, state: State) -> None:
        record = state.insert("trail", {"_id": "a", "seq": 0})
        with pytest.raises(Conflict):
            state.replace("trail", record | {"seq": 1})
        with pytest.raises(Conflict):
            state.delete("trail", "a", version=1)
        assert state.find("trail") == [record]

    def test_one_of_many_threads_gets_the_unique_field(self, state: State) -> None:
        won: list[int] = []
        taken: set[str] = set()

        def insert(number: int) -> None:
            for seq in range(20):
                try:
                    state.insert("trail", {"_id": f"{number}-{seq}", "seq": seq})
                    won.append(seq)
                except AlreadyExists as error:
                    taken.add(error.detail["field"])

        in_threads(8, insert)
        assert (sorted(won), taken) == (list(range(20)), {"seq"})
        assert state.count("trail") == 20

    def test_increments_of_many_threads_are_not_lost(self, state: State) -> None:
        state.insert("context", {"_id": "counter", "n": 0})

        def add(_: int) -> None:
            for _ in range(25):
                while True:
                    document = state.get("context", "counter")
                    assert document is not None
                    try:
                        state.replace("context", document | {"n": document["n"] + 1})
                        break
                    except VersionConflict:
                        continue

        in_threads(8, add)
        document = state.get("context", "counter")
        assert document == {"_id": "counter", "n": 200, "_version": 201}

    def test_one_of_many_takes_a_lease_and_one_takes_it_over(self, state: State) -> None:
        leaders: list[int] = []

        def take(number: int) -> None:
            try:
                state.insert("leases", {"_id": "control", "holder": number, "term": 1})
                leaders.append(number)
            except AlreadyExists:
                pass

        in_threads(8, take)
        assert len(leaders) == 1
        seen = state.get("leases", "control")
        assert seen is not None
        successors: list[int] = []

        def take_over(number: int) -> None:
            try:
                state.replace("leases", seen | {"holder": number, "term": seen["term"] + 1})
                successors.append(number)
            except VersionConflict:
                pass

        in_threads(8, take_over)
        assert len(successors) == 1
        assert state.find("leases") == [
            {"_id": "control", "holder": successors[0], "term": 2, "_version": 2},
        ]

    # ── processes ──

    def test_increments_of_two_processes_are_not_lost(self, state: State, opening: str) -> None:
        state.insert("context", {"_id": "counter", "n": 0})
        adders = [process(opening, ADDER) for _ in range(2)]
        assert [adder.communicate(timeout=60) and adder.returncode for adder in adders] == [0, 0]
        document = state.get("context", "counter")
        assert document == {"_id": "counter", "n": 50, "_version": 51}

    def test_many_processes_may_open_a_new_store_at_once(self, opening: str, reopen: Callable[[], State]) -> None:
        script = "import os\nstate.insert('context', {'_id': str(os.getpid())})\nstate.close()\n"
        children = [process(opening, script) for _ in range(5)]
        assert [child.communicate(timeout=60) and child.returncode for child in children] == [0] * 5
        assert reopen().count("context") == 5

    def test_what_was_acknowledged_survives_kill_9(self, opening: str, reopen: Callable[[], State]) -> None:
        with process(opening, WRITER) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
        found = [document["seq"] for document in reopen().find("trail", sort="seq")]
        assert found[: len(acknowledged)] == acknowledged
        assert found == list(range(len(found)))

    def test_a_store_can_be_opened_again(self, reopen: Callable[[], State]) -> None:
        first = reopen()
        first.insert("context", {"_id": "a", "n": 1})
        first.close()
        second = reopen()
        assert second.get("context", "a") == {"_id": "a", "n": 1, "_version": 1}

    def test_a_closed_store_says_so(self, state: State) -> None:
        state.close()
        state.close()
        with pytest.raises(Unavailable, match="closed"):
            state.get("context", "a")
