from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from fedn.client.agent import WELCOME_TIMEOUT_S
from fedn.errors import BadInput, NameTaken, NoCombiner, NotFound, Unavailable
from fedn.reducer import discovery
from fedn.reducer.discovery import DOUBT_S, EXPIRY_S, HANDSHAKE_S, Ages, Request, add_combiner
from fedn.reducer.network import Seen
from fedn.reducer.sessions import ACTIVE
from fedn.storage.sqlite import SqliteState
from fedn.wire.v1 import control_pb2 as control


def combiner(name: str, *clients: str, up: bool = True) -> Seen:
    attached = [control.AttachedClient(client_id=c, name=c, part=k) for k, c in enumerate(clients)]
    report = control.ReportReply(combiner=name, clients=attached) if up else None
    return Seen(name, f"identity of {name}", f"{name}:1", report)


AGES: WeakKeyDictionary[SqliteState, Ages] = WeakKeyDictionary()


def assign(state: SqliteState, seen: list[Seen], request: Request) -> dict[str, Any]:
    """As in a worker of its own, so that nothing but the store's promises keeps requests apart."""
    return discovery.assign(state, seen, request, deciding=Lock(), ages=AGES.setdefault(state, Ages()))


def ask(state: SqliteState, seen: list[Seen], client: str, preferred: str | None = None) -> dict[str, object]:
    return assign(state, seen, Request(client, client, preferred))


def test_clients_go_to_the_combiner_with_the_fewest_counted_as_numbers(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b"), combiner("c")]
    given = Counter(str(ask(state, seen, f"client-{k}")["combiner"]) for k in range(33))
    assert set(given.values()) == {11}  # with "10" < "9" the eleventh would go astray


def test_concurrent_requests_get_distinct_parts_and_even_combiners(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b")]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda k: ask(state, seen, f"client-{k}"), range(40)))
    assert sorted(int(str(g["part"])) for g in given) == list(range(40))
    assert set(Counter(g["combiner"] for g in given).values()) == {20}


def test_a_preferred_combiner_is_honoured(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b")]
    for k in range(3):
        assert ask(state, seen, f"client-{k}", "b")["combiner"] == "b"
    assert ask(state, seen, "client-0", "a")["combiner"] == "a"


def test_a_preferred_combiner_that_is_down_is_replaced_and_an_unknown_one_refused(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b", up=False)]
    assert ask(state, seen, "client", "b")["combiner"] == "a"
    with pytest.raises(NotFound):
        ask(state, seen, "client", "zebra")


def test_part_and_combiner_are_stable_when_a_client_comes_back(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b")]
    first = [ask(state, seen, f"client-{k}") for k in range(5)]
    again = [ask(state, seen, f"client-{k}") for k in (3, 1, 4, 0, 2)]
    assert again == [first[k] for k in (3, 1, 4, 0, 2)]


def test_a_client_moves_when_its_combiner_is_gone_and_keeps_its_part(state: SqliteState) -> None:
    before = ask(state, [combiner("a")], "client")
    after = ask(state, [combiner("a", up=False), combiner("b")], "client")
    assert after["combiner"] == "b"
    assert after["part"] == before["part"]


def test_a_client_does_not_move_while_a_round_waits_for_it_at_its_combiner(state: SqliteState) -> None:
    gone = [combiner("a", up=False), combiner("b")]
    for client in ("asked", "not-asked"):
        ask(state, [combiner("a")], client)
    state.insert("sessions", {"_id": "s", "slot": ACTIVE})
    participants = [{"client_id": "asked", "combiner": "a"}]
    begun = {"_id": "r", "round_id": "r", "session": "s", "status": "started", "participants": participants}
    round_ = state.insert("rounds", begun)
    with pytest.raises(NoCombiner, match="a round waits"):
        ask(state, gone, "asked")
    assert ask(state, gone, "not-asked")["combiner"] == "b"
    state.replace("rounds", round_ | {"status": "failed"})
    assert ask(state, gone, "asked")["combiner"] == "b"


def test_the_lowest_part_is_free_again_when_its_client_is_gone_for_long(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    seen = [combiner("a")]
    for k in range(3):
        ask(state, seen, f"client-{k}")
    now += EXPIRY_S + 1
    still_there = [combiner("a", "client-0", "client-2")]
    for _ in range(2):
        with pytest.raises(Unavailable, match="'client-1' was away for long"):
            ask(state, still_there, "newcomer")
        now += DOUBT_S / 2
    assert ask(state, still_there, "newcomer")["part"] == 1
    assert ask(state, still_there, "another")["part"] == 3


def test_a_newcomer_among_those_who_come_back_takes_no_part_of_theirs(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were stopped for long, and one more is started with them: it may well ask first."""
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    seen = [combiner("a")]
    first = {k: based(state, seen, f"id-{k}") for k in range(3)}
    now += 100 * EXPIRY_S
    with pytest.raises(Unavailable):
        based(state, seen, "newcomer")
    assert {k: based(state, seen, f"id-{k}") for k in (2, 0, 1)} == first
    assert based(state, seen, "newcomer")["part"] == 3


def test_a_client_whose_combiner_is_silent_now_and_then_keeps_its_part(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    there, silent = [combiner("a", "client-0"), combiner("b")], [combiner("a", up=False), combiner("b")]
    ask(state, there, "client-0", "a")
    for newcomer in ("one", "two", "three"):
        now += 2 * EXPIRY_S
        with pytest.raises(Unavailable):
            ask(state, silent, newcomer)
        assert ask(state, there, newcomer)["part"] != 0
        state.clear("clients", {"_id": newcomer})
    assert ask(state, there, "client-0")["part"] == 0


def test_a_name_in_use_is_refused_and_one_of_a_gone_client_is_taken_over(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    ask(state, [combiner("a")], "one")
    with pytest.raises(NameTaken):
        assign(state, [combiner("a", "one")], Request("two", "one"))
    with pytest.raises(Unavailable, match="a moment ago"):  # it may be on its way to its combiner
        assign(state, [combiner("a")], Request("two", "one"))
    now += HANDSHAKE_S
    taken = assign(state, [combiner("a")], Request("two", "one"))
    assert taken["part"] == 0


def test_without_a_combiner_there_is_no_seat(state: SqliteState) -> None:
    with pytest.raises(NoCombiner, match="announced"):
        ask(state, [], "client")
    with pytest.raises(NoCombiner, match="up"):
        ask(state, [combiner("a", up=False)], "client")


@pytest.mark.parametrize("name", ["", "x" * 129, "new\nline"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Request("id", name)


def test_a_combiner_that_moves_is_found_at_its_new_address(state: SqliteState) -> None:
    add_combiner(state, [], name="a", identity="1", address="host:1")
    add_combiner(state, [], name="a", identity="1", address="host:2")
    entry = state.get("combiners", "a")
    assert entry is not None
    assert entry["address"] == "host:2"


def test_a_second_combiner_of_a_name_is_refused_while_the_first_answers(state: SqliteState) -> None:
    add_combiner(state, [], name="a", identity="1", address="host:1")
    with pytest.raises(NameTaken):
        add_combiner(state, [combiner("a")], name="a", identity="2", address="host:2")
    add_combiner(state, [combiner("a", up=False)], name="a", identity="2", address="host:2")


@pytest.mark.parametrize(("name", "address"), [("", "h:1"), ("a/b", "h:1"), ("a", "h"), ("a", "h:0"), ("a", ":1")])
def test_odd_combiners_are_refused(state: SqliteState, name: str, address: str) -> None:
    with pytest.raises(BadInput):
        add_combiner(state, [], name=name, identity="1", address=address)


def test_an_announcement_that_meets_another_at_the_same_moment_is_tried_again(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_combiner(state, [], name="a", identity="1", address="host:1")
    replace = state.replace

    def beaten(collection: str, document: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.undo()
        replace(collection, document | {"address": "host:2"})
        return replace(collection, document)

    monkeypatch.setattr(state, "replace", beaten)
    add_combiner(state, [], name="a", identity="1", address="host:3")
    entry = state.get("combiners", "a")
    assert entry is not None
    assert entry["address"] == "host:3"


def based(state: SqliteState, seen: list[Seen], client: str, base: str = "site-") -> dict[str, Any]:
    return assign(state, seen, Request(client, name_base=base))


def test_a_base_makes_a_name_with_the_part(state: SqliteState) -> None:
    seen = [combiner("a"), combiner("b")]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda k: based(state, seen, f"id-{k}"), range(12)))
    assert sorted(g["name"] for g in given) == sorted(f"site-{k}" for k in range(12))
    assert all(g["name"] == f"site-{g['part']}" for g in given)
    assert [based(state, seen, g["client_id"]) for g in reversed(given)] == given[::-1]


def test_clients_that_were_all_away_for_long_find_their_parts_and_names_again(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    seen = [combiner("a"), combiner("b")]
    first = {k: based(state, seen, f"id-{k}") for k in range(5)}
    now += 100 * EXPIRY_S
    assert {k: based(state, seen, f"id-{k}") for k in (3, 1, 4, 0, 2)} == first


def test_a_name_made_of_a_base_that_another_client_bears_is_refused(state: SqliteState) -> None:
    seen = [combiner("a", "id-0")]
    assign(state, seen, Request("id-0", name="site-1"))
    with pytest.raises(NameTaken, match="'site-1'"):
        based(state, seen, "id-1")


def test_a_name_and_a_base_exclude_each_other() -> None:
    with pytest.raises(BadInput, match="exclude"):
        Request("id", name="a", name_base="b")
    with pytest.raises(BadInput, match="name_base"):
        Request("id", name_base="x" * 129)


def test_two_identities_that_ask_for_one_name_at_once_do_not_both_get_it(state: SqliteState) -> None:
    seen = [combiner("a")]

    def asks(k: int) -> bool:
        try:
            assign(state, seen, Request(f"id-{k}", name="same"))
        except Unavailable:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(asks, range(16)))
    assert given.count(True) == 1
    assert state.count("clients") == 1


def test_a_name_is_not_taken_over_from_one_who_may_still_attach(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    assign(state, [combiner("a")], Request("id-0", name="same"))
    now += WELCOME_TIMEOUT_S  # so long it waits for its combiner's welcome
    with pytest.raises(Unavailable):
        assign(state, [combiner("a")], Request("id-1", name="same"))


def test_a_client_that_comes_back_costs_one_read_of_its_own_claim(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [combiner("a"), combiner("b")]
    first = {k: ask(state, seen, f"id-{k}") for k in range(4)}
    others = {k: based(state, seen, f"based-{k}") for k in range(2)}

    find = state.find

    def found(collection: str, **more: Any) -> list[dict[str, Any]]:
        assert "where" in more, "all claims were read"
        return find(collection, **more)

    monkeypatch.setattr(state, "find", found)
    assert {k: ask(state, seen, f"id-{k}") for k in range(4)} == first
    assert {k: based(state, seen, f"based-{k}") for k in range(2)} == others
    with pytest.raises(AssertionError, match="all claims"):
        ask(state, seen, "newcomer")


def test_who_waits_too_long_for_its_turn_is_told_so(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "DECIDE_S", 0.01)
    deciding = Lock()
    ask(state, [combiner("a")], "back")
    with deciding:
        with pytest.raises(Unavailable, match="too many clients"):
            discovery.assign(state, [combiner("a")], Request("new", "new"), deciding=deciding, ages=Ages())
        discovery.assign(state, [combiner("a")], Request("back", "back"), deciding=deciding, ages=Ages())
    discovery.assign(state, [combiner("a")], Request("new", "new"), deciding=deciding, ages=Ages())


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_wall_clock_that_jumps_expires_no_claim_and_keeps_no_name(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    now, jumped = 1000.0, 0.0
    monkeypatch.setattr("fedn.reducer.discovery.time.monotonic", lambda: now)
    monkeypatch.setattr("fedn.reducer.discovery.time.time", lambda: now + jumped)
    seen, away = [combiner("a")], [combiner("a", up=False), combiner("b")]
    assert ask(state, seen, "one")["part"] == 0
    jumped = jump_s
    assert ask(state, away, "two")["part"] == 1, "the first may be coming back"
    with pytest.raises(Unavailable, match="a moment ago"):
        assign(state, away, Request("another", "one"))
    now += HANDSHAKE_S
    assert assign(state, away, Request("another", "one"))["name"] == "one"


def test_another_worker_of_the_reducer_takes_what_it_sees_first_for_young(state: SqliteState) -> None:
    seen = [combiner("a")]
    ask(state, seen, "one")
    with pytest.raises(Unavailable, match="a moment ago"):
        discovery.assign(state, seen, Request("another", "one"), deciding=Lock(), ages=Ages())
