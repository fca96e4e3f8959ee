"""Updates in a 16-bit float type at a combiner: accepted as they are, summed exactly, averaged into a float32 model."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fedn.aggregation.fedavg import fedavg
from fedn.aggregation.fold import Contribution, check_update
from fedn.aggregation.rounding import round_to_bits
from fedn.combiner.phases import stage
from fedn.errors import BadInput, BeyondWireDtype, NonFinite, SchemaMismatch
from fedn.model.narrow import FLOAT_TYPES, convert, narrowed
from fedn.model.safetensors import digest_of, load_tensors, open_model, write_model
from fedn.model.schema import DTYPES
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2
from test.unit.combiner_bench import Hand, Table, table
from test.unit.reducer_bench import Client, reducer, soon

ODD = 1 + 2.0**-20  # rounds to 1 in both types
Tensors = dict[str, npt.NDArray[Any]]
names = pytest.mark.parametrize("name", FLOAT_TYPES)


def some_model() -> Tensors:
    """All kinds of tensors; those that travel in a 16-bit type lie on both sides of others in canonical order."""
    return {
        "w": np.full((3, 5), ODD, np.float32),
        "a": np.array(ODD, np.float32),
        "brain": np.array([ODD] * 3, DTYPES["BF16"]),
        "half": np.array([ODD] * 3, np.float16),
        "steps": np.array([3, 4], np.int64),
        "small": np.array([5], np.int32),
        "double": np.array([ODD], np.float64),
    }


def trained(seed: int, dtype: str) -> Tensors:
    """An update of that model: float32 rounded to the type, values of very different sizes."""
    dice = np.random.default_rng(seed)
    made: Tensors = {}
    for name, tensor in some_model().items():
        if tensor.dtype.kind == "i":
            made[name] = dice.integers(-9, 9, tensor.shape).astype(tensor.dtype)
        else:
            exponents = dice.integers(-12, 12, tensor.shape)
            kind = DTYPES[dtype] if tensor.dtype == np.float32 else tensor.dtype
            made[name] = np.ldexp(dice.normal(size=tensor.shape), exponents).astype(kind)
    return made


def exact_mean(updates: list[Tensors], weights: list[int]) -> Tensors:
    """The correctly rounded mean in the model's dtypes, in Fractions, element by element."""
    means: Tensors = {}
    for name, tensor in some_model().items():
        dtype = next(key for key, kind in DTYPES.items() if kind == tensor.dtype)
        flat = [np.asarray(update[name]).reshape(-1).astype(np.float64) for update in updates]
        totals = [
            sum((Fraction(float(column[k])) * w for column, w in zip(flat, weights, strict=True)), Fraction())
            for k in range(tensor.size)
        ]
        bits = np.dtype(f"u{tensor.dtype.itemsize}")
        rounded = [round_to_bits(total / sum(weights), dtype) for total in totals]
        means[name] = np.array(rounded, bits).view(tensor.dtype).reshape(tensor.shape)
    return means


def same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].tobytes() == tensor.tobytes(), name


@names
def test_the_mean_of_such_updates_is_the_exact_one_in_the_models_dtypes(tmp_path: Path, name: str) -> None:
    """I3, for updates in files that are canonical and in one that is not."""
    dtype, weights = FLOAT_TYPES[name], [3, 2**29 - 1, 1, 12]
    updates = [trained(seed, dtype) for seed in range(4)]
    write_model(tmp_path / "model", some_model())
    schema = open_model(tmp_path / "model").schema
    contributions = []
    for k, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        write_model(tmp_path / f"{k}", update)
        model = open_model(tmp_path / f"{k}")
        contributions.append(Contribution(model, weight, check_update(model, schema, wire=dtype)))
    digest = fedavg(contributions, schema=schema, wire=dtype, out=tmp_path / "mean")
    assert digest == fedavg(contributions[::-1], schema=schema, wire=dtype, out=tmp_path / "again", threads=1)
    same(load_tensors(tmp_path / "mean"), exact_mean(updates, weights))


async def begun(laid: Table, model: Tensors, *encodings: str) -> tuple[Hand, pb.RunTask]:
    """A round with these encodings, and the task of its one client."""
    await laid.stage(model)
    hand = laid.hand("c0")
    await hand.attach(encodings=encodings)
    await laid.start("c0", encodings=encodings)
    return hand, await hand.task()


@names
async def test_the_task_names_the_rounded_model_beside_the_base(tmp_path: Path, name: str) -> None:
    async with table(tmp_path) as laid:
        hand, task = await begun(laid, some_model(), name, "zstd")
        assert (task.model, sorted(task.encodings)) == (laid.model, [name, "zstd"])
        assert list(task.native) == (["half"] if name == "float16" else ["brain"])
        wire = load_tensors(await laid.fetch(task.wire_model, task.wire_model_size))
        assert {tensor for tensor in wire if wire[tensor].dtype == DTYPES[FLOAT_TYPES[name]]} >= {"w", "a"}
        assert (wire["w"].astype(np.float64) == 1).all()
        assert wire["double"].tolist() == [ODD]
        path, digest = laid.write(trained(1, FLOAT_TYPES[name]))
        await hand.send(path, digest, "r1")
        receipt = await hand.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=2))
        assert receipt.accepted, receipt
        assert (await laid.outcome()).weight == 2


async def test_a_session_without_encodings_is_as_it_was(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        _, task = await begun(laid, some_model())
        assert (task.wire_model, list(task.encodings), list(task.native)) == ("", [], [])


async def test_a_model_without_float32_travels_as_it_is(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        _, task = await begun(laid, {"d": np.ones(3)}, "float16")
        assert task.wire_model == ""


@pytest.mark.parametrize(
    ("update", "code"),
    [
        ({"w": np.ones(4, np.float32)}, SchemaMismatch.code),
        ({"w": np.ones(4, DTYPES["BF16"])}, SchemaMismatch.code),
        ({"w": np.array([1, np.nan, 1, 1], np.float16)}, NonFinite.code),
    ],
)
async def test_an_update_in_another_form_is_refused(tmp_path: Path, update: Tensors, code: str) -> None:
    """As one of a client would be that does not know of encodings."""
    async with table(tmp_path) as laid:
        hand, _ = await begun(laid, {"w": np.ones(4, np.float32)}, "float16")
        path, digest = laid.write(update)
        await hand.send(path, digest, "r1")
        receipt = await hand.submit("r1", update=pb.Update(model=digest, base_model=laid.model, num_examples=1))
        assert (receipt.accepted, receipt.code) == (False, code)


async def test_an_update_that_equals_the_rounded_model_counts(tmp_path: Path) -> None:
    """A learning rate of 0: its blob is on the shelf already."""
    async with table(tmp_path) as laid:
        hand, task = await begun(laid, {"w": np.full(4, ODD, np.float32)}, "bfloat16")
        path = await laid.fetch(task.wire_model, task.wire_model_size)
        await hand.send(path, task.wire_model, "r1")
        update = pb.Update(model=task.wire_model, base_model=laid.model, num_examples=1)
        assert (await hand.submit("r1", update=update)).accepted
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.full(4, ODD, np.float32)})
        await laid.start("c0", encodings=["bfloat16"])
        outcome = await laid.outcome()
        assert [(c.status, c.update) for c in outcome.clients] == [("accepted", task.wire_model)]
        assert (outcome.weight, outcome.code) == (1, "")


async def test_a_model_beyond_the_range_fails_the_round_by_name(tmp_path: Path) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"fine": np.ones(4, np.float32), "large": np.array([1, 1e6], np.float32)})
        await laid.start("c0", encodings=["float16"])
        outcome = await laid.outcome()
        assert outcome.code == BeyondWireDtype.code
        assert outcome.reason == "tensor 'large' has 1e+06 at [1], which float16 cannot hold"


@pytest.mark.parametrize("asked", [["float8"], ["float16", "bfloat16"]])
async def test_an_order_in_an_encoding_that_is_not_known_is_refused(tmp_path: Path, asked: list[str]) -> None:
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.ones(4, np.float32)})
        with pytest.raises(BadInput, match="float"):
            async with rpc_errors(unreachable=AssertionError):  # type: ignore[arg-type]
                await laid.start("c0", encodings=asked)


async def test_the_rounded_model_is_made_again_after_a_restart_and_swept_with_the_round(tmp_path: Path) -> None:
    model: Tensors = {"w": np.full(4, ODD, np.float32)}
    async with table(tmp_path) as laid:
        _, task = await begun(laid, model, "float16")
        wire = task.wire_model
    async with table(tmp_path) as laid:
        hand, task = await begun(laid, model, "float16")
        assert task.wire_model == wire
        path = await laid.fetch(wire, task.wire_model_size)
        assert digest_of(path) == wire
        await hand.send(path, wire, "r1")
        await hand.submit("r1", update=pb.Update(model=wire, base_model=laid.model, num_examples=1))
        await laid.outcome()
        await laid.stage({"w": np.full(4, 2.0, np.float32)})
        await laid.start("c0", round_id="r2")
        await hand.command()
        await hand.task()
        assert laid.combiner.shelf.find(wire) is None


async def test_the_round_after_a_validation_takes_over_its_rounded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counting(*given: Any, **more: Any) -> str:
        made.append(convert(*given, **more))
        return made[-1]

    monkeypatch.setattr(stage, "convert", counting)
    async with table(tmp_path) as laid:
        await laid.stage({"w": np.full(4, ODD, np.float32)})
        hand = laid.hand("c0")
        await hand.attach(encodings=["float16"])
        for round_id, kind in (("v1", "VALIDATE"), ("r2", "TRAIN"), ("r3", "TRAIN")):
            await laid.start("c0", round_id=round_id, kind=kind, encodings=["float16"])
            task = await hand.task()
            assert laid.combiner.shelf.find(task.wire_model) is not None
            await hand.submit(round_id, failure=pb.Failure(code="internal", reason="a test"))
            await laid.outcome(round_id)
            await laid.control.EndRound(control_pb2.EndRoundRequest(term=1, round_id=round_id))
            await hand.command()
        assert made == [task.wire_model]
        await laid.start("c0", round_id="r4", encodings=["bfloat16"])  # in another type it is another
        another = (await hand.task()).wire_model
        assert made[1:] == [another] != made[:1]


async def sends(client: Client, task: pb.RunTask) -> None:
    """An update of this client's own in the session's type."""
    (name,) = task.encodings
    path = client.folder / f"{client.client_id}-{len(client.tasks)}"
    dice = np.random.default_rng(client.part)
    wide = client.folder / f"{path.name}-wide"
    write_model(wide, {"w": dice.normal(size=4).astype(np.float32)})
    model = open_model(wide)
    digest = convert(model, narrowed(model.schema, FLOAT_TYPES[name]), path)
    await client.hand.send(path, digest, task.round_id)
    update = pb.Update(model=digest, base_model=task.model, num_examples=client.part + 1)
    await client.hand.submit(task.round_id, update=update)


async def test_one_two_and_three_combiners_make_the_same_model(tmp_path: Path) -> None:
    """I4"""
    models = set()
    for combiners in ("a", "ab", "abc"):
        (tmp_path / combiners).mkdir()
        async with reducer(tmp_path / combiners, combiners=tuple(combiners)) as laid:
            clients = [await laid.client(f"c{k}", combiners[k % len(combiners)], sends) for k in range(4)]
            result = await soon(laid.round(laid.plan(*clients, wire_dtype="float16")).run())
            models.add(result.model)
            assert load_tensors(laid.desk.local(result.model))["w"].dtype == np.float32
    assert len(models) == 1
