from __future__ import annotations

import asyncio

from fedn.combiner.pulse import Pulse


async def test_a_beat_wakes_everyone_who_waits() -> None:
    pulse = Pulse()
    one, other = pulse.next(), pulse.next()
    pulse.beat()
    assert one.done()
    assert other.done()


async def test_a_beat_is_not_remembered() -> None:
    pulse = Pulse()
    pulse.beat()
    after = pulse.next()
    assert not after.done()
    pulse.beat()
    assert after.done()


async def test_who_takes_the_next_beat_before_it_looks_misses_none() -> None:
    pulse, seen, wanted = Pulse(), [0], 100

    async def watch() -> int:
        looks = 0
        while True:
            beat = pulse.next()
            looks += 1
            if seen[0] == wanted:
                return looks
            await asyncio.wait([beat])

    watching = asyncio.create_task(watch())
    for _ in range(wanted):
        await asyncio.sleep(0)
        seen[0] += 1
        pulse.beat()
    assert await asyncio.wait_for(watching, 10) <= wanted + 1


async def test_a_watcher_that_is_cancelled_takes_no_beat_from_the_others() -> None:
    pulse = Pulse()

    async def watch() -> None:
        await asyncio.wait([pulse.next()])

    leaves, stays = asyncio.create_task(watch()), asyncio.create_task(watch())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert not stays.done()
    pulse.beat()
    await asyncio.wait_for(stays, 10)
