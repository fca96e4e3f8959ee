"""The agent: it finds its combiner, attaches, and comes back whatever happens to the other end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fedn.client import agent
from fedn.client.agent import Events, Heart, outgoing
from fedn.client.link import Link
from fedn.client.pool import serve
from fedn.client.waits import Waits
from fedn.config import ClientSettings
from fedn.errors import FednError, NameTaken, NoCombiner
from fedn.wire.channel import dial, listen, new_server
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc
from fedn.wire.v1 import control_pb2 as control
from test.unit.client_bench import Bench, bench
from test.unit.combiner_bench import table, until
from test.unit.rest_stub import Reply, RestStub


def seat(address: str) -> Reply:
    return Reply(200, {"combiner": "north", "address": address, "part": 4, "name": "c", "spread_s": 0})


async def test_a_client_says_who_it_is_and_attaches(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live(combiner="north")
        await set_up.attached()
        call = await set_up.reducer.call()
        assert (call.path, call.query) == ("/assign", {"client_id": "c0", "name": "c", "combiner": "north"})
        report = await laid.control.Report(control.ReportRequest())
        (client,) = report.clients
        assert (client.client_id, client.name, client.part) == ("c0", "c", 4)
        assert client.cpus > 0
        assert client.memory_bytes > 0


async def test_a_client_comes_back_when_its_combiner_does_at_another_port(tmp_path: Path) -> None:
    async with AsyncExitStack() as until_back:
        first = await until_back.enter_async_context(table(tmp_path))
        async with bench(tmp_path, first) as set_up:
            set_up.live()
            await set_up.attached()
            await until_back.aclose()
            async with table(tmp_path) as laid:
                set_up.seat(laid)
                await set_up.attached()


async def test_reconnecting_leaves_no_tasks_behind(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        counts = []
        for _ in range(3):
            await reconnects(set_up)
            counts.append(len([t for t in asyncio.all_tasks() if "_consume_request_iterator" in repr(t)]))
        assert counts == [1, 1, 1]


async def reconnects(set_up: Bench) -> None:
    """The client loses its stream and comes back."""
    roster = set_up.laid.combiner.roster
    stream = roster.attached()[0].stream
    assert stream is not None
    stream.close()
    await until(lambda: stream not in [seat.stream for seat in roster.attached()])
    await set_up.attached()


async def test_a_name_that_is_taken_ends_the_client(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.reducer.replies = [Reply.error(NameTaken("another client is connected under the name 'c'"))]
        life = set_up.live()
        with pytest.raises(NameTaken, match="'c'"):
            await asyncio.wait_for(life.running, 10)


async def test_without_a_combiner_a_client_asks_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await finds_another(tmp_path, Reply.error(NoCombiner("no combiner is up")))
    assert "no combiner is up" in caplog.text


async def test_a_client_asks_again_when_the_reducer_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    after = Waits.after

    def noted(waits: Waits, error: FednError | None) -> float:
        told.append(None if error is None else error.detail.get("retry_after_s"))
        return min(after(waits, error), 0.01)

    monkeypatch.setattr(Waits, "after", noted)
    gateway = Reply(503, "busy", {"Retry-After": "Fri, 07 Aug 2026 23:59:59 GMT"})
    await finds_another(tmp_path, Reply.error(NoCombiner(), Retry_After="7"), gateway)
    assert told[:2] == [7.0, None]


async def test_a_turn_ends_with_the_welcome_and_nobody_asks_without_one(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.turns.acquire()
        set_up.live()
        await until(lambda: set_up.turns._waiters)
        assert set_up.reducer.idle
        set_up.turns.release()
        await set_up.attached()
        await reconnects(set_up)  # the bench has one turn
        await until(lambda: not set_up.turns.locked())


async def test_an_answer_that_is_none_does_not_end_the_client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await finds_another(tmp_path, Reply(200, {"unexpected": True}))
    assert "the connection was lost" in caplog.text


async def test_a_silent_combiner_is_left_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agent, "WELCOME_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and never reads from one
        port = silent.getsockname()[1]
        await finds_another(tmp_path, seat(f"127.0.0.1:{port}"))
    assert "did not say welcome" in caplog.text


async def finds_another(folder: Path, *first: Reply) -> None:
    """A client that is sent to other places first attaches at the combiner in the end."""
    async with table(folder) as laid, bench(folder, laid) as set_up:
        set_up.reducer.replies[:0] = first
        set_up.live()
        await set_up.attached()


class Rude(combiner_pb2_grpc.CombinerServicer):
    """Ends the stream, or begins it with another word than welcome."""

    def __init__(self, *commands: pb.CombinerCommand) -> None:
        self.commands = commands

    async def Submit(self, request: pb.TaskResult, context: Any) -> pb.Receipt:  # noqa: N802
        raise AssertionError("nobody has a task")

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.CombinerCommand]:  # noqa: N802
        for command in self.commands:
            yield command


@asynccontextmanager
async def served(service: combiner_pb2_grpc.CombinerServicer) -> AsyncIterator[str]:
    server = new_server()
    combiner_pb2_grpc.add_CombinerServicer_to_server(service, server)
    port = await listen(server, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("commands", [(), (pb.CombinerCommand(drain=pb.Drain()),)])
async def test_a_combiner_that_does_not_begin_with_a_welcome_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, commands: tuple[pb.CombinerCommand, ...]
) -> None:
    async with served(Rude(*commands)) as rude:
        await finds_another(tmp_path, seat(rude))
    # what the client is just writing may meet the end first
    assert "turned the stream away" in caplog.text or "has ended the stream" in caplog.text


async def test_a_client_that_is_sent_away_asks_where_to_go(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        await set_up.reducer.call()
        async with table(tmp_path / "other", name="south") as other:
            set_up.seat(other)
            laid.combiner.roster.send_away("the combiner is stopping")
            await set_up.attached(other)
            await until(lambda: not laid.combiner.roster.attached())


async def test_a_client_whose_combiner_is_cut_off_goes_to_the_one_that_the_reducer_names(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        async with table(tmp_path / "other", name="south") as other:
            set_up.seat(other, name="south")
            laid.combiner.orphaned(25)
            await set_up.attached(other)
            await until(lambda: not laid.combiner.roster.attached())
            assert other.combiner.roster.attached()[0].client_id == "c0"


@pytest.mark.parametrize("says", ["no combiner is up", "the reducer names no other"])
async def test_a_client_whose_combiner_is_cut_off_stays_when_there_is_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, says: str
) -> None:
    caplog.set_level("INFO")
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        (before,) = laid.combiner.roster.attached()
        stream = before.stream
        if "up" in says:
            set_up.reducer.replies = [Reply.error(NoCombiner(says))]
        laid.combiner.orphaned(25)
        laid.combiner.orphaned(45)
        await until(lambda: f"staying at combiner north: {says}" in caplog.text)
        laid.combiner.orphaned(65)  # and it can be asked again
        await until(lambda: caplog.text.count(f"staying at combiner north: {says}") >= 2)
        (after,) = laid.combiner.roster.attached()
        assert after.stream is stream


async def test_waits_begin_short_again_after_a_welcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    welcomes = 0

    def counted(_: Waits) -> None:
        nonlocal welcomes
        welcomes += 1

    monkeypatch.setattr(Waits, "welcomed", counted)
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await until(lambda: welcomes == 1)
        await set_up.attached()
        laid.combiner.roster.attached()[0].stream.close()  # type: ignore[union-attr]
        await until(lambda: welcomes == 2)


async def test_heartbeats_keep_a_client_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = 0
    heartbeat = pb.Heartbeat

    def counted() -> pb.Heartbeat:
        nonlocal beats
        beats += 1
        return heartbeat()

    monkeypatch.setattr(pb, "Heartbeat", counted)
    async with table(tmp_path, heartbeat_s=0.05) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        (first,) = laid.combiner.roster.attached()
        stream = first.stream
        await until(lambda: beats >= 12)  # twice as long as silence would be borne
        (still,) = laid.combiner.roster.attached()
        assert still.stream is stream


async def test_a_client_beats_as_seldom_as_it_is_told_later(tmp_path: Path) -> None:
    async with table(tmp_path, heartbeat_s=0.05) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        [seat] = laid.combiner.roster.attached()
        first = seat.stream
        assert first is not None
        first.send(pb.CombinerCommand(welcome=pb.Welcome(combiner="c", heartbeat_s=600.0)))
        await until(lambda: seat.stream is not first)  # who is silent is cut off, for the combiner knows of nothing


async def test_a_heart_beats_until_it_is_stopped() -> None:
    events: Events = asyncio.Queue()
    heart = asyncio.create_task(Heart(events, 0.001).beat())
    for _ in range(3):
        event = await asyncio.wait_for(events.get(), 10)
        assert event is not None
        assert event.WhichOneof("event") == "heartbeat"
    heart.cancel()


async def test_the_clients_half_of_the_stream_has_an_end() -> None:
    events: Events = asyncio.Queue()
    for event in (pb.ClientEvent(heartbeat=pb.Heartbeat()), None):
        events.put_nowait(event)
    assert [event.WhichOneof("event") async for event in outgoing(events)] == ["heartbeat"]


async def test_a_link_gives_the_connection_of_now() -> None:
    link = Link()
    asking = asyncio.create_task(link.channel())
    await asyncio.sleep(0)
    assert not asking.done()
    channel = dial("127.0.0.1:1")
    link.connect(channel)
    assert await asyncio.wait_for(asking, 10) is channel
    link.disconnect()
    await channel.close()


async def test_a_client_with_a_base_goes_by_the_name_that_it_is_given(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, RestStub(seat(laid.combiner.address)) as reducer:
        settings = ClientSettings(reducer=reducer.address, dir=tmp_path / "clients", name_base="site-")
        running = asyncio.create_task(serve(settings))
        await until(lambda: laid.combiner.roster.attached())
        identity = (tmp_path / "clients" / "0" / "id").read_text()
        assert (await reducer.call()).query == {"client_id": identity, "name_base": "site-"}
        assert laid.combiner.roster.attached()[0].name == "c"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)


async def test_a_client_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, RestStub(seat(laid.combiner.address)) as reducer:
        running = asyncio.create_task(serve(ClientSettings(reducer=reducer.address, dir=tmp_path / "client")))
        await until(lambda: laid.combiner.roster.attached())
        identity = (tmp_path / "client" / "id").read_text()
        assert (await reducer.call()).query == {"client_id": identity, "name": f"client-{identity[:6]}"}
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)
        await until(lambda: not laid.combiner.roster.attached())
