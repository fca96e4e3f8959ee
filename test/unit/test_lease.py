from __future__ import annotations

from fedn.reducer.lease import Lease
from fedn.storage.sqlite import SqliteState


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease(state: SqliteState, holder: str, clock: Clock) -> Lease:
    return Lease(state, holder=holder, ttl_s=5.0, clock=clock)


def test_one_leads_and_the_other_waits(state: SqliteState) -> None:
    clock = Clock()
    one, other = lease(state, "one", clock), lease(state, "other", clock)
    assert one.try_take() == 1
    assert other.try_take() is None
    clock.now += 4.9
    assert other.try_take() is None
    assert one.renew()
    clock.now += 4.9
    assert other.try_take() is None


def test_a_silent_leader_is_replaced_with_a_higher_term(state: SqliteState) -> None:
    clock = Clock()
    one, other = lease(state, "one", clock), lease(state, "other", clock)
    one.try_take()
    assert other.try_take() is None
    clock.now += 5.0
    assert not one.fresh
    assert other.try_take() == 2
    assert not one.renew()


def test_a_taker_counts_on_its_own_clock_from_what_it_has_seen(state: SqliteState) -> None:
    mine, theirs = Clock(), Clock()
    one = lease(state, "one", theirs)
    one.try_take()
    late = lease(state, "late", mine)
    mine.now += 1000.0  # its clock says nothing about the leader's
    assert late.try_take() is None
    mine.now += 5.0
    assert late.try_take() == 2


def test_a_released_lease_is_taken_at_once(state: SqliteState) -> None:
    clock = Clock()
    one, other = lease(state, "one", clock), lease(state, "other", clock)
    one.try_take()
    one.release()
    assert not one.fresh
    assert other.try_take() == 2


def test_of_two_takers_at_the_same_moment_one_wins(state: SqliteState) -> None:
    clock = Clock()
    first = lease(state, "first", clock)
    first.try_take()
    takers = [lease(state, f"taker-{k}", clock) for k in range(5)]
    for taker in takers:
        assert taker.try_take() is None
    clock.now += 5.0
    assert [taker.try_take() for taker in takers].count(2) == 1


def test_who_never_held_the_lease_cannot_renew_it(state: SqliteState) -> None:
    one = lease(state, "one", Clock())
    assert not one.renew()
    one.release()
    assert state.get("leases", "control") is None
