"""Signs of life: how often they are asked for, who is cut off, and what a stream still sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from fedn.combiner.heartbeats import BEATS_PER_S, MOST_S, Heartbeats, interval
from fedn.combiner.roster import Roster, Seat
from fedn.combiner.stream import Stream
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import table, until

BEAT_S = 1.0


def drain(reason: str) -> pb.CombinerCommand:
    return pb.CombinerCommand(drain=pb.Drain(reason=reason))


class Sent:
    """What was written to one client; it may be held up."""

    def __init__(self) -> None:
        self.commands: list[pb.CombinerCommand] = []
        self.way = asyncio.Event()
        self.way.set()

    async def write(self, command: pb.CombinerCommand) -> None:
        await self.way.wait()
        self.commands.append(command)

    @property
    def reasons(self) -> list[str]:
        return [command.drain.reason for command in self.commands]


@asynccontextmanager
async def attached(roster: Roster, client_id: str, sent: Sent) -> AsyncIterator[tuple[Seat, asyncio.Task[None]]]:
    """A client whose half says nothing; the task ends with its stream."""
    stream = Stream(sent.write, heartbeat_s=BEAT_S)
    seat = roster.attach(pb.Hello(client_id=client_id), stream)

    async def listen() -> None:
        async with stream.until_closed():
            await asyncio.Event().wait()

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    try:
        yield seat, listening
    finally:
        stream.cut()
        await listening


def heartbeats(roster: Roster, uploading: frozenset[str] = frozenset()) -> Heartbeats:
    return Heartbeats("north", roster, heartbeat_s=BEAT_S, sends=lambda client_id: client_id in uploading)


@pytest.mark.parametrize("clients", [0, 1, 100, int(5 * BEATS_PER_S)])
def test_a_few_clients_beat_as_it_was_set(clients: int) -> None:
    assert interval(5.0, clients) == 5.0


def test_many_clients_beat_so_seldom_that_together_they_cost_no_more() -> None:
    assert 10_000 / interval(5.0, 10_000) == pytest.approx(BEATS_PER_S)
    assert interval(5.0, 1_000_000) == MOST_S
    assert interval(120.0, 10_000) == 120.0


async def test_who_is_silent_is_cut_off_and_who_uploads_is_not() -> None:
    roster = Roster(lambda: 0.0)
    beats = heartbeats(roster, frozenset({"busy"}))
    now = asyncio.get_running_loop().time()
    async with attached(roster, "idle", Sent()) as (_, idle), attached(roster, "busy", Sent()) as (seat, busy):
        for beat in range(1, 6):
            beats.look(now + beat * BEAT_S)
        async with asyncio.timeout(10):
            await idle
        assert not busy.done()
        assert seat.stream is not None
        assert seat.stream.heard_at == now + 5 * BEAT_S


async def test_a_combiner_that_was_held_up_itself_cuts_nobody_off_for_it() -> None:
    roster = Roster(lambda: 0.0)
    beats = heartbeats(roster)
    now = asyncio.get_running_loop().time()
    async with attached(roster, "a", Sent()) as (seat, listening):
        beats.look(now + BEAT_S)
        beats.look(now + 20 * BEAT_S)
        await asyncio.sleep(0)
        assert not listening.done()
        assert seat.stream is not None
        assert seat.stream.heard_at == now + 20 * BEAT_S


async def test_a_client_is_told_when_it_beats_much_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    roster, sent = Roster(lambda: 0.0), Sent()
    beats = heartbeats(roster)
    now = asyncio.get_running_loop().time()
    async with attached(roster, "a", sent) as (seat, _):
        beats.look(now)
        monkeypatch.setattr("fedn.combiner.heartbeats.BEATS_PER_S", 0.1)  # of one client, that is every 10 s
        beats.look(now)
        beats.look(now)
        await until(lambda: bool(sent.commands))
        assert [command.welcome.heartbeat_s for command in sent.commands] == [10.0]
        beats.look(now + 3 * BEAT_S)
        beats.look(now + 6 * BEAT_S)
        beats.look(now + 9 * BEAT_S)
        assert seat.stream is not None
        assert seat.stream.heartbeat_s == 10.0


async def test_commands_are_sent_in_their_order_and_all_of_them_before_the_end() -> None:
    roster, sent = Roster(lambda: 0.0), Sent()
    async with attached(roster, "a", sent) as (seat, listening):
        stream = seat.stream
        assert stream is not None
        sent.way.clear()
        stream.send(drain("1"))
        await asyncio.sleep(0)
        stream.send(drain("2"))
        stream.close()
        await asyncio.sleep(0)
        assert not listening.done()
        sent.way.set()
        async with asyncio.timeout(10):
            await listening
        assert sent.reasons == ["1", "2"]


async def test_a_stream_that_is_closed_before_anyone_listens_still_sends() -> None:
    sent = Sent()
    stream = Stream(sent.write, heartbeat_s=BEAT_S)
    stream.send(drain("1"))
    stream.close()
    async with asyncio.timeout(10), stream.until_closed():
        await asyncio.Event().wait()
    assert sent.reasons == ["1"]


async def test_a_cut_waits_for_nothing_that_is_on_its_way() -> None:
    roster, sent = Roster(lambda: 0.0), Sent()
    async with attached(roster, "a", sent) as (seat, listening):
        sent.way.clear()
        assert seat.stream is not None
        seat.stream.send(drain("1"))
        await asyncio.sleep(0)
        seat.stream.cut()
        async with asyncio.timeout(10):
            await listening
        assert sent.reasons == []


async def test_a_timeout_of_another_is_not_taken_for_the_end() -> None:
    stream = Stream(Sent().write, heartbeat_s=BEAT_S)
    with pytest.raises(TimeoutError, match="of another"):
        async with stream.until_closed():
            raise TimeoutError("of another")


async def test_what_cannot_be_sent_to_a_client_that_has_gone_harms_nobody() -> None:
    async def refuse(_: pb.CombinerCommand) -> None:
        raise grpc.aio.UsageError("the call has ended")

    stream = Stream(refuse, heartbeat_s=BEAT_S)
    async with asyncio.timeout(10), stream.until_closed():
        stream.send(drain("1"))
        stream.close()
        await asyncio.Event().wait()


async def test_a_client_that_comes_back_ends_its_former_stream(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        hand = laid.hand("a")
        await hand.attach()
        former = hand.stream
        await hand.attach()
        assert await asyncio.wait_for(former.read(), 10) is grpc.aio.EOF
        [seat] = laid.combiner.roster.attached()
        assert laid.combiner.roster.count == 1
        assert seat.stream is not None
        assert not seat.stream.superseded


async def test_a_client_that_ends_its_half_is_gone(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        hand = laid.hand("a")
        await hand.attach()
        await hand.stream.done_writing()
        assert await asyncio.wait_for(hand.stream.read(), 10) is grpc.aio.EOF
        await until(lambda: not laid.combiner.roster.count)
