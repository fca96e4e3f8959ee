"""The header of a safetensors file: its bytes to a schema and offsets, and back.

What arrives is not trusted: everything is checked, and a refusal names what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from fedn.errors import ModelInvalid, ModelTooLarge
from fedn.model.schema import Limits, Schema, TensorSpec

_FIELDS = {"dtype", "shape", "data_offsets"}


def parse_header(text: bytes, *, limits: Limits) -> tuple[Schema, tuple[int, ...], int]:
    """The schema, where each of its tensors begins, and the bytes of all data.

    Raises ModelInvalid or ModelTooLarge with the exact reason.
    """
    entries = _entries(text)
    if len(entries) > limits.max_tensors:
        raise ModelTooLarge(f"{len(entries)} tensors, more than the {limits.max_tensors} allowed")
    if any(len(name) > limits.max_name for name in entries):
        raise ModelTooLarge(f"a tensor's name is longer than the {limits.max_name} characters allowed")
    placed = [(_spec(name, entry, limits), *_span(name, entry)) for name, entry in entries.items()]
    end = 0
    for spec, begin, stop in sorted(placed, key=lambda item: item[1:]):
        if begin != end:
            flaw = "overlaps the tensor before it" if begin < end else "leaves a hole before it"
            raise ModelInvalid(f"tensor {spec.name!r} {flaw}: begins at {begin}, not at {end}")
        if stop - begin != spec.nbytes:
            raise ModelInvalid(f"tensor {spec.name!r} has {stop - begin} bytes, but its shape needs {spec.nbytes}")
        end = stop
    schema = Schema(tuple(spec for spec, _, _ in placed))
    begins = {spec.name: begin for spec, begin, _ in placed}
    return schema, tuple(begins[spec.name] for spec in schema.tensors), end


def header_bytes(tensors: Iterable[TensorSpec], *, length: int = 0) -> bytes:
    """A header that lays out the tensors in this order.

    The text is as the reference library writes it, filled with spaces to a multiple of 8 and to at least
    ``length`` bytes; the 8 bytes before it are its length.
    """
    entries: dict[str, Any] = {}
    begin = 0
    for spec in tensors:
        stop = begin + spec.nbytes
        entries[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": (begin, stop)}
        begin = stop
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    wanted = max(len(text), length)
    text = text.ljust(wanted + -wanted % 8)
    return len(text).to_bytes(8, "little") + text


def _entries(text: bytes) -> dict[str, Any]:
    """The JSON object of the header, without ``__metadata__``."""
    if not text.startswith(b"{"):
        raise ModelInvalid("the header is not a JSON object")
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"the header is not valid JSON: {error}") from None
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelInvalid("__metadata__ does not map strings to strings")
    return dict(entries)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ModelInvalid(f"the header has {twice[:100]!r} twice")
    return entries


def _no_constant(word: str) -> NoReturn:
    raise ModelInvalid(f"the header holds {word}, which is not JSON")


def _spec(name: str, entry: object, limits: Limits) -> TensorSpec:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ModelInvalid(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape = entry["dtype"], entry["shape"]
    if not isinstance(dtype, str):
        raise ModelInvalid(f"the dtype of tensor {name!r} is not a string")
    if not _whole_numbers(shape):
        raise ModelInvalid(f"the shape of tensor {name!r} is not a list of non-negative integers")
    if len(shape) > limits.max_dims:
        raise ModelTooLarge(f"tensor {name!r} has {len(shape)} dimensions, more than the {limits.max_dims} allowed")
    if math.prod(max(size, 1) for size in shape) > limits.max_bytes:  # an empty tensor hides no size either
        raise ModelTooLarge(f"the shape of tensor {name!r} needs more than the {limits.max_bytes} bytes allowed")
    return TensorSpec(name, dtype, tuple(shape))


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int]:
    offsets = entry["data_offsets"]
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelInvalid(f"data_offsets of tensor {name!r} are not two integers, begin and end")
    return offsets[0], offsets[1]


def _whole_numbers(value: object) -> bool:
    """Whether it is a list of non-negative integers; True and False are none."""
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
