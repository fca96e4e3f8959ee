"""What a combiner refuses of its clients: it is counted under its code, and the round goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.errors import (
    DigestMismatch,
    FednError,
    SchemaMismatch,
)
from fedn.model.safetensors import digest_of
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import ZEROS, arrive, filled, mean_of, table, train

Change = Callable[[pb.Update], None]


def with_metric(value: float) -> Change:
    return lambda update: update.metrics.update({"loss": value})


REFUSALS: dict[str, tuple[dict[str, Any], Change, str]] = {
    "another name": ({"v": np.zeros(4, np.float32)}, lambda u: None, "schema_mismatch"),
    "another shape that would broadcast": ({"w": np.zeros((1, 4), np.float32)}, lambda u: None, "schema_mismatch"),
    "another dtype": ({"w": np.zeros(4, np.float64)}, lambda u: None, "schema_mismatch"),
    "NaN": ({"w": np.array([0, np.nan, 0, 0], np.float32)}, lambda u: None, "non_finite"),
    "Inf": ({"w": np.array([0, 0, -np.inf, 0], np.float32)}, lambda u: None, "non_finite"),
    "no examples": (ZEROS, lambda u: setattr(u, "num_examples", 0), "bad_num_examples"),
    "negative examples": (ZEROS, lambda u: setattr(u, "num_examples", -5), "bad_num_examples"),
    "another base": (ZEROS, lambda u: setattr(u, "base_model", "0" * 64), "wrong_base"),
    "a metric that is no number": (ZEROS, with_metric(float("nan")), "output_invalid"),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_bad_update_is_refused_and_counted_and_the_round_goes_on(tmp_path: Path, what: str) -> None:
    tensors, change, code = REFUSALS[what]
    async with table(tmp_path) as laid:
        good, bad = await arrive(laid, "good", "bad")
        await laid.start("good", "bad")
        await bad.task()
        path, digest = laid.write(tensors, "bad")
        await bad.send(path, digest, "r1")
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        change(update)
        receipt = await bad.submit("r1", update=update)
        assert not receipt.accepted
        assert receipt.code == code
        assert (await train(laid, good, 3.0)).accepted
        outcome = await laid.outcome()
        assert dict(outcome.refused) == {code: 1}
        assert {c.client_id: c.code for c in outcome.clients} == {"bad": code, "good": ""}
        assert await mean_of(laid, outcome) == 3.0


async def test_a_file_that_is_no_model_is_refused_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path = tmp_path / "garbage"
        path.write_bytes(b"\x08\0\0\0\0\0\0\0not json")
        digest = digest_of(path)
        await hand.send(path, digest, "r1")
        receipt = await hand.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=1))
        assert receipt.code == "model_invalid"
        assert laid.combiner.shelf.find(digest) is None
        assert dict((await laid.outcome()).refused) == {"model_invalid": 1}


async def test_bytes_that_are_not_those_announced_are_not_stored(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write(filled(1.0), "bad")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(DigestMismatch):
            await hand.send(path, digest, "r1")
        assert laid.combiner.shelf.find(digest) is None


async def test_the_same_update_twice_is_one_and_another_one_is_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        one, other = await arrive(laid, "one", "other")
        await laid.start("one", "other")
        assert (await train(laid, one, 2.0)).accepted
        _, digest = laid.write(filled(2.0))
        again = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await one.submit("r1", update=again)).accepted
        _, second = laid.write(filled(9.0), "second")
        receipt = await one.submit("r1", update=pb.Update(model=second, base_model=laid.model, num_examples=1))
        assert receipt.code == "duplicate_update"
        assert (await train(laid, other, 4.0)).accepted
        outcome = await laid.outcome()
        assert outcome.weight == 2
        assert await mean_of(laid, outcome) == 3.0
        assert dict(outcome.refused) == {"duplicate_update": 1}


async def test_a_late_update_is_refused_and_not_folded(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        early, late = await arrive(laid, "early", "late")
        await laid.start("early", "late", timeout_s=1.5)
        await late.task()
        path, digest = laid.write(filled(100.0), "late")
        await late.send(path, digest, "r1")
        assert (await train(laid, early, 1.0)).accepted
        outcome = await laid.outcome()
        assert {c.client_id: c.status for c in outcome.clients} == {"early": "accepted", "late": "missing"}
        assert await mean_of(laid, outcome) == 1.0
        receipt = await late.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=1))
        assert receipt.code == "round_closed"
        assert (await late.command()).WhichOneof("command") == "cancel"


async def test_an_unknown_round_and_a_client_that_was_not_asked_are_refused(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        asked, stranger = await arrive(laid, "asked", "stranger")
        await laid.start("asked")
        path, digest = laid.write(filled(1.0))
        update = pb.Update(model=digest, base_model=laid.model, num_examples=1)
        assert (await stranger.submit("r1", update=update)).code == "not_a_participant"
        assert (await asked.submit("r0", update=update)).code == "unknown_round"
        with pytest.raises(FednError) as caught:
            await stranger.send(path, digest, "r1")
        assert caught.value.code == "not_a_participant"


async def test_an_upload_far_larger_than_the_model_is_refused_before_its_bytes_travel(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        (hand,) = await arrive(laid, "a")
        await laid.start("a")
        await hand.task()
        path, digest = laid.write({"w": np.zeros(2**20, np.float32)}, "large")
        with pytest.raises(SchemaMismatch):
            await hand.send(path, digest, "r1")
        assert laid.combiner.shelf.find(digest) is None
