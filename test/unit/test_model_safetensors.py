from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from fedn.errors import ModelInvalid, ModelTooLarge
from fedn.model.safetensors import (
    canonical_header,
    canonicalise,
    digest_of,
    load_tensors,
    open_model,
    write_model,
)
from fedn.model.schema import DTYPES, Limits, Schema
from fedn.model.whole import whole_file

Tensors = dict[str, npt.NDArray[Any]]
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda n: n != "__metadata__")
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def models(draw: st.DrawFn) -> Tensors:
    tensors: Tensors = {}
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        dtype, shape = DTYPES[draw(st.sampled_from(sorted(DTYPES)))], draw(shapes)
        size = int(np.prod(shape)) * dtype.itemsize
        data = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8).copy()
        tensors[name] = (data & 1 if dtype == np.bool_ else data).view(dtype).reshape(shape)
    return tensors


anywhere = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@anywhere
@given(models())
def test_written_models_have_the_bytes_of_the_reference_library(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model"
    digest = write_model(path, tensors)
    assert path.read_bytes() == save(tensors)
    assert digest == hashlib.sha256(save(tensors)).hexdigest() == digest_of(path)
    assert path.read_bytes().startswith(canonical_header(Schema.of(tensors)))


@anywhere
@given(models())
def test_what_was_written_is_what_is_loaded(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model"
    write_model(path, tensors)
    loaded = load_tensors(path)
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes()
    assert open_model(path).schema == Schema.of(tensors)


@anywhere
@given(models(), st.randoms(use_true_random=False))
def test_any_layout_of_equal_tensors_has_one_canonical_form(tmp_path: Path, tensors: Tensors, random: Any) -> None:
    shuffled = list(tensors.items())
    random.shuffle(shuffled)
    source, canonical = tmp_path / "source", tmp_path / "canonical"
    source.write_bytes(laid_out(dict(shuffled), metadata={"format": "pt"}))
    accepted = deserialize(source.read_bytes())  # type: ignore[no-untyped-call]
    assert {name for name, _ in accepted} == tensors.keys()
    assert canonicalise(source, canonical) == hashlib.sha256(save(tensors)).hexdigest()
    assert canonical.read_bytes() == save(tensors)


def laid_out(tensors: Tensors, metadata: dict[str, str] | None = None) -> bytes:
    """A valid file with the tensors in the order given and an odd padding."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    for name, array in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        entries[name] = {"dtype": kinds[array.dtype], "shape": array.shape, "data_offsets": offsets}
        data += raw
    return framed(json.dumps(entries).encode() + b"   ", data)


def framed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def test_arrays_of_any_memory_order_and_byte_order_are_written_in_canonical_form(tmp_path: Path) -> None:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    digest = write_model(tmp_path / "plain", {"x": plain})
    assert write_model(tmp_path / "fortran", {"x": np.asfortranarray(plain)}) == digest
    assert write_model(tmp_path / "big", {"x": plain.astype(">f4")}) == digest
    assert write_model(tmp_path / "part", {"x": np.arange(24, dtype=np.float32)[::2].reshape(3, 4) / 2}) == digest


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


NESTED = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
INVALID = {
    "empty": (b"", "too few for its header"),
    "short": (b"\x01\0\0", "too few for its header"),
    "header beyond the end": (struct.pack("<Q", 1000) + b"{}", "too few for its header"),
    "header length of 2^64 - 1": (b"\xff" * 8 + b"{}", "too few for its header"),
    "pickle": (framed(b"\x80\x04]\x94."), "not a JSON object"),
    "array": (framed(b"[]"), "not a JSON object"),
    "broken": (framed(b'{"x":'), "not valid JSON"),
    "not UTF-8": (framed(b'{"\xff":1}'), "not valid JSON"),
    "nested": (framed(NESTED), "not valid JSON|not described"),
    "number of 5,000 digits": (framed(b'{"x":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "NaN": (framed(b'{"x":NaN}'), "holds NaN"),
    "no tensor": (framed(b"{}"), "no tensor"),
    "name twice": (framed(b'{"x":1,"x":1}'), "'x' twice"),
    "field twice": (framed(b'{"x":{"dtype":"F32","dtype":"F32"}}'), "'dtype' twice"),
    "metadata of numbers": (framed(b'{"__metadata__":{"a":1}}'), "strings to strings"),
    "entry is a number": ({"x": 1}, "not described by"),
    "entry with more": ({"x": entry(more=1)}, "not described by"),
    "surrogate in a name": (framed(json.dumps({"\ud800": entry()}).encode(), b"\0" * 8), "not valid Unicode"),
    "dtype is a number": ({"x": entry(dtype=1)}, "not a string"),
    "dtype unknown": ({"x": entry(dtype="F8_E4M3")}, "does not know"),
    "shape negative": ({"x": entry(shape=[-2])}, "non-negative"),
    "shape of floats": ({"x": entry(shape=[2.0])}, "non-negative"),
    "shape of booleans": ({"x": entry(shape=[True, 2])}, "non-negative"),
    "shape is a number": ({"x": entry(shape=2)}, "non-negative"),
    "offsets three": ({"x": entry(offsets=[0, 8, 8])}, "data_offsets"),
    "offsets backwards": ({"x": entry(offsets=[8, 0])}, "data_offsets"),
    "offsets negative": ({"x": entry(offsets=[-8, 0])}, "data_offsets"),
    "offsets against shape": ({"x": entry(shape=[3])}, "its shape needs 12"),
    "hole at the start": ({"x": entry(offsets=[8, 16])}, "leaves a hole"),
    "hole between": ({"x": entry(), "y": entry(offsets=[12, 20])}, "leaves a hole"),
    "overlap": ({"x": entry(), "y": entry(offsets=[4, 12])}, "overlaps"),
    "same place": ({"x": entry(), "y": entry()}, "overlaps"),
    "data too short": (framed(json.dumps({"x": entry()}).encode(), b"\0" * 7), "its header describes"),
    "data too long": (framed(json.dumps({"x": entry()}).encode(), b"\0" * 9), "its header describes"),
}


@pytest.mark.parametrize("case", INVALID)
def test_what_is_not_a_model_file_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    content, reason = INVALID[case]
    path = tmp_path / "model"
    path.write_bytes(content if isinstance(content, bytes) else framed(json.dumps(content).encode(), b"\0" * 8))
    with pytest.raises(ModelInvalid, match=reason) as refusal:
        open_model(path)
    assert len(refusal.value.reason) < 1000
    with pytest.raises(ModelInvalid):
        load_tensors(path)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_bytes=100), "more than the 100 allowed"),
        (Limits(max_header_bytes=50), "more than the 50 allowed"),
        (Limits(max_tensors=1), "2 tensors"),
        (Limits(max_dims=1), "2 dimensions"),
        (Limits(max_name=2), "longer than the 2 characters"),
    ],
)
def test_a_model_beyond_a_limit_is_too_large(limits: Limits, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_model(path, {"one": np.zeros((2, 5), np.float32), "two": np.zeros(1, np.float32)})
    with pytest.raises(ModelTooLarge, match=reason):
        open_model(path, limits=limits)
    assert open_model(path).size == path.stat().st_size


@pytest.mark.parametrize("shape", [[2**40, 2**40], [0, 2**70], [2**40 + 1]])
def test_shapes_that_no_file_can_fill_are_too_large(shape: list[int], tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(framed(json.dumps({"x": entry(shape=shape, offsets=[0, 0])}).encode()))
    with pytest.raises(ModelTooLarge, match="needs more than"):
        open_model(path)


def test_a_size_other_than_announced_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_model(path, {"x": np.zeros(2)})
    size = path.stat().st_size
    assert open_model(path, size=size).size == size
    with pytest.raises(ModelInvalid, match="were announced"):
        open_model(path, size=size + 1)


def test_open_models_of_one_schema_share_it(tmp_path: Path) -> None:
    write_model(tmp_path / "a", {"x": np.zeros(2)})
    write_model(tmp_path / "b", {"y": np.zeros(2)})
    schema = open_model(tmp_path / "a").schema
    again = open_model(tmp_path / "a", schema=schema)
    assert again.schema is schema
    assert again.offsets is schema.offsets
    assert open_model(tmp_path / "b", schema=schema).schema != schema


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_model(path, {"x": np.zeros(1000)})
    model = open_model(path)
    with path.open("rb+") as file:
        file.truncate(model.data_start + 80)
    with pytest.raises(ModelInvalid, match="its header describes"):
        canonicalise(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"before")
    with pytest.raises(ModelInvalid):
        write_model(path, {"x": np.zeros(2, np.complex128)})
    with pytest.raises(OSError, match="disk full"), whole_file(path) as file:
        raise OSError(file.write(b"half"), "disk full")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
