"""Clients that come, go, come back and fall silent at a real combiner."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1.blobs_pb2 import UploadRequest, UploadStart
from fedn.wire.v1.blobs_pb2_grpc import BlobsStub
from test.unit.combiner_bench import arrive, filled, table, train, until


async def test_a_client_that_goes_away_is_given_up_after_its_grace(tmp_path: Path) -> None:
    async with table(tmp_path, reconnect_grace_s=0.2) as laid:
        stays, leaves = await arrive(laid, "stays", "leaves")
        await laid.start("stays", "leaves", timeout_s=3600)
        await leaves.task()
        leaves.leave()
        await train(laid, stays, 1.0)
        outcome = await laid.outcome()
        assert {c.client_id: c.code for c in outcome.clients} == {"leaves": "client_lost", "stays": ""}


async def test_a_client_that_comes_back_gets_its_task_again_on_the_new_stream(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        first = await hand.task()
        hand.leave()
        await hand.attach()
        again = await hand.task()
        assert again.task_id == first.task_id
        path, digest = laid.write(filled(1.0))
        await hand.send(path, digest, "r1")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await hand.submit("r1", update=update)).accepted


async def test_a_new_stream_supersedes_the_old_and_takes_the_next_task(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        old = hand.stream
        await hand.attach()
        assert await asyncio.wait_for(old.read(), 10) is grpc.aio.EOF
        await laid.start("a")
        assert (await train(laid, hand, 1.0)).accepted


async def test_a_stream_that_does_not_say_hello_is_turned_away(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        stream = laid.hand("rude").stub.Attach()
        await stream.write(pb.ClientEvent(heartbeat=pb.Heartbeat()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(stream.read(), 10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_silent_client_counts_as_gone(tmp_path: Path) -> None:
    async with table(tmp_path, heartbeat_s=0.1) as laid:
        hand = laid.hand("silent")
        welcome = await hand.attach()
        assert welcome.heartbeat_s == 0.1
        assert await asyncio.wait_for(hand.stream.read(), 10) is grpc.aio.EOF
        report = await laid.control.Report(control.ReportRequest())
        assert not report.clients


async def test_a_client_that_uploads_counts_as_alive_while_its_heartbeats_wait_behind_the_bytes(tmp_path: Path) -> None:
    async with table(tmp_path, heartbeat_s=0.1) as laid:
        [hand] = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write(filled(1))
        data = path.read_bytes()
        call = BlobsStub(hand.channel).Upload()
        start = UploadStart(digest=digest, size=len(data), round_id="r1", client_id="a")
        await call.write(UploadRequest(start=start))
        await call.read()
        for byte in range(8):  # more than twice the silence
            await call.write(UploadRequest(data=data[byte : byte + 1]))
            await asyncio.sleep(0.1)
        assert laid.combiner.roster.attached()
        call.cancel()
        await until(lambda: not laid.combiner.roster.attached())
