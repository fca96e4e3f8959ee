"""A client whose session asks for a 16-bit type and zstd: its scripts read and write float32 and know of nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedn.client.encoding import for_the_wire
from fedn.errors import BeyondWireDtype, OutputInvalid
from fedn.model.safetensors import digest_of, load_tensors, write_model
from fedn.model.schema import DTYPES
from fedn.wire.encodings import KNOWN
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.client_bench import bench
from test.unit.combiner_bench import table
from test.unit.test_client_tasks import line

ODD = 1 + 2.0**-20  # rounds to 1
MODEL = {"w": np.full(5000, ODD, np.float32), "own": np.ones(2, DTYPES["BF16"])}


async def test_a_client_says_what_it_can(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        (seat,) = laid.combiner.roster.attached()
        assert tuple(seat.encodings) == KNOWN


@pytest.mark.parametrize("encodings", [("bfloat16",), ("bfloat16", "zstd"), ("zstd",)])
async def test_scripts_read_and_write_float32_and_the_wire_has_the_sessions_type(
    tmp_path: Path, encodings: tuple[str, ...]
) -> None:
    rounds = "bfloat16" in encodings
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, MODEL)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings(), encodings=encodings)
        trained = await line(set_up)
        assert trained.status == "accepted", trained
        update = laid.combiner.shelf.find(trained.update)
        assert update is not None
        sent = load_tensors(update)
        assert sent["w"].dtype == (DTYPES["BF16"] if rounds else np.float32)
        assert sent["own"].dtype == DTYPES["BF16"]
        models = tmp_path / "client" / "models"
        (given,) = models.glob("*.wide" if rounds else "*")
        model = load_tensors(given)
        assert model["w"].dtype == np.float32
        assert set(model["w"].tolist()) == {1.0 if rounds else ODD}
        await laid.start("c0", round_id="r2", kind="VALIDATE", settings=set_up.settings(), encodings=encodings)
        assert (await line(set_up, "r2")).status == "accepted"


async def test_an_update_that_is_finished_is_sent_and_not_trained_again_after_a_restart(tmp_path: Path) -> None:
    """I1: what is kept on disk is the update as it is sent."""
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, MODEL)
        noted = await set_up.die_with_a_finished_training(tmp_path, encodings=["bfloat16", "zstd"])
        (kept,) = noted.parent.glob("run-*/update")
        assert not kept.with_name("out").exists()
        set_up.live()
        sent = await line(set_up)
        assert (sent.status, sent.update) == ("accepted", digest_of(kept))
        assert [run["kind"] for run in set_up.runs] == ["train"]


async def test_a_widened_model_is_made_again_after_a_start(tmp_path: Path) -> None:
    """A power failure may have cut it short, and nobody knows its digest."""
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, MODEL)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings(), encodings=["bfloat16"])
        await line(set_up)
        await set_up.die()
        (wide,) = (tmp_path / "client" / "models").glob("*.wide")
        whole = wide.read_bytes()
        wide.write_bytes(whole[:100])
        set_up.live()
        await set_up.attached()
        await laid.start("c0", round_id="r2", kind="VALIDATE", settings=set_up.settings(), encodings=["bfloat16"])
        assert (await line(set_up, "r2")).status == "accepted"
        assert wide.read_bytes() == whole


def test_a_value_beyond_the_range_is_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_model(out, {"w": np.array([2.0, -70_000.0], np.float32)})
    with pytest.raises(BeyondWireDtype, match=r"^tensor 'w' has -70000 at \[1\], which float16 cannot hold$"):
        for_the_wire(out, pb.RunTask(encodings=["float16"]))
    assert for_the_wire(out, pb.RunTask(encodings=["zstd"])) == (out, digest_of(out))


def test_what_is_no_model_is_invalid_output_in_any_encoding(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"garbage")
    for asked in ([], ["float16"]):
        with pytest.raises(OutputInvalid, match="not a model"):
            for_the_wire(out, pb.RunTask(encodings=asked))
