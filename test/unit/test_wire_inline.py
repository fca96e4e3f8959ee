"""Small models and updates travel in the messages that name them; all else is as with transfers of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fedn.errors import DigestMismatch, NotFound, Unavailable
from fedn.wire import inline
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import arrive, table


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_only_small_files_and_not_too_many_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert inline.of_file(path) == b"x" * 100
    assert inline.of_file(tmp_path / "gone") == b""
    monkeypatch.setattr(inline, "MOST_OF_A_ROUND", 1000)
    assert [len(inline.of_file(path, copies=copies)) for copies in (10, 11)] == [100, 0]
    monkeypatch.setattr(inline, "MOST_BYTES", 99)
    assert inline.of_file(path) == b""


def test_bytes_that_are_not_what_their_digest_says_leave_nothing(tmp_path: Path) -> None:
    inline.to_file(b"right", digest_of(b"right"), tmp_path / "right")
    assert (tmp_path / "right").read_bytes() == b"right"
    with pytest.raises(DigestMismatch):
        inline.to_file(b"wrong", digest_of(b"right"), tmp_path / "wrong")
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


async def test_a_small_model_comes_with_the_task_and_a_small_update_with_the_result(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        task = await hand.task()
        assert digest_of(task.content) == task.model
        path, digest = laid.write({"w": np.full(4, 2.0, np.float32)})
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        receipts = [await hand.submit("r1", update=update, content=path.read_bytes()) for _ in range(2)]
        assert [receipt.accepted for receipt in receipts] == [True, True]  # the second as if its receipt was lost
        outcome = await laid.outcome()
        assert [(c.status, c.update) for c in outcome.clients] == [("accepted", digest)]
        assert laid.combiner.shelf.find(digest) is not None


async def test_a_model_comes_once(tmp_path: Path) -> None:
    """It is worked with to validate it, and then to train from it."""
    async with table(tmp_path) as laid:
        one, other = await arrive(laid, "a", "b")
        await laid.start("a", kind="VALIDATE")
        assert (await one.task()).content
        await laid.start("a", "b", round_id="r2")
        assert [(await one.command()).WhichOneof("command") for _ in range(2)] == ["cancel", "ended"]
        given = {hand: await hand.task() for hand in (one, other)}
        assert given[one].content == b""
        assert digest_of(given[other].content) == given[other].model == given[one].model


async def test_large_models_and_updates_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "MOST_BYTES", 10)
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        assert (await hand.task()).content == b""
        path, digest = laid.write({"w": np.full(4, 2.0, np.float32)})
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        with pytest.raises(NotFound):
            async with rpc_errors(unreachable=Unavailable):
                await hand.submit("r1", update=update)
        receipt = await hand.submit("r1", update=update, content=path.read_bytes())
        assert (receipt.accepted, receipt.code) == (False, "model_too_large")


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"not a model at all", "model_invalid"), (b"", "digest_mismatch")],
    ids=["no model", "other bytes than its digest says"],
)
async def test_what_is_refused_leaves_nothing(tmp_path: Path, content: bytes, code: str) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        digest = digest_of(content) if content else "0" * 64
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        receipt = await hand.submit("r1", update=update, content=content or b"others")
        assert (receipt.accepted, receipt.code) == (False, code)
        outcome = await laid.outcome()
        assert dict(outcome.refused) == {code: 1}
        assert laid.combiner.shelf.find(digest) is None
