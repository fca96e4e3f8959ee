from __future__ import annotations

import asyncio

import pytest

from fedn.wire.admission import Admission


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


class Guest:
    """Holds a place until it is told to leave."""

    def __init__(self, admission: Admission) -> None:
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(admission))

    async def _visit(self, admission: Admission) -> None:
        async with admission:
            self.inside = True
            await self.leave.wait()


async def test_places_are_given_first_come_first_served_and_counted() -> None:
    admission = Admission(2)
    guests = [Guest(admission) for _ in range(5)]
    await _settle()
    assert [guest.inside for guest in guests] == [True, True, False, False, False]
    assert (admission.running, admission.waiting) == (2, 3)
    guests[1].leave.set()
    await _settle()
    assert [guest.inside for guest in guests] == [True, True, True, False, False]
    for guest in guests:
        guest.leave.set()
    await asyncio.gather(*(guest.task for guest in guests))
    assert (admission.running, admission.waiting) == (0, 0)


async def test_whoever_is_cancelled_while_waiting_leaves_the_queue() -> None:
    admission = Admission(1)
    first, second, third = (Guest(admission) for _ in range(3))
    await _settle()
    second.task.cancel()
    await _settle()
    assert (admission.running, admission.waiting) == (1, 1)
    first.leave.set()
    await _settle()
    assert third.inside
    third.leave.set()
    await third.task


async def test_whoever_is_cancelled_while_running_gives_the_place_on() -> None:
    admission = Admission(1)
    first, second = Guest(admission), Guest(admission)
    await _settle()
    first.task.cancel()
    await _settle()
    assert second.inside
    second.leave.set()
    await second.task
    assert admission.running == 0


async def test_a_place_is_not_lost_when_its_taker_is_cancelled_as_it_gets_it() -> None:
    admission = Admission(1)
    first, second, third = (Guest(admission) for _ in range(3))
    await _settle()
    first.task.cancel()
    second.task.cancel()
    await _settle()
    assert third.inside
    third.leave.set()
    await third.task
    assert (admission.running, admission.waiting) == (0, 0)


async def test_an_error_inside_gives_the_place_on() -> None:
    admission = Admission(1)
    with pytest.raises(ValueError, match="inside"):
        async with admission:
            raise ValueError("inside")
    async with asyncio.timeout(1), admission:
        assert admission.running == 1
