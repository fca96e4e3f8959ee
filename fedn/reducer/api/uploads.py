"""Seed model and compute package: files that users upload, streamed to disk, checked before anything is kept."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flask import Request

from fedn.errors import BadInput, ModelTooLarge

BLOCK_BYTES = 2**20


@contextmanager
def received(sent: Request, *, field: str, folder: Path, limit: int) -> Iterator[Path]:
    """The uploaded file (a form's file field, or the whole body) in a temporary file, gone afterwards.

    Raises BadInput when there is none, ModelTooLarge beyond `limit` bytes.
    """
    if sent.content_length is not None and sent.content_length > limit + 2**20:
        raise ModelTooLarge(f"{sent.content_length} bytes; the limit is {limit}")
    path = folder / f"upload-{uuid.uuid4().hex}"
    try:
        if copy(source_of(sent, field), path, limit) == 0:
            raise BadInput(f"no file was sent; send it as the body, or as the form's file {field!r}")
        yield path
    finally:
        path.unlink(missing_ok=True)


def source_of(sent: Request, field: str) -> IO[bytes]:
    """The stream of the upload."""
    if sent.mimetype == "multipart/form-data":
        if field not in sent.files:
            raise BadInput(f"the form has no file {field!r}")
        return sent.files[field].stream
    stream: IO[bytes] = sent.stream
    return stream


def copy(source: IO[bytes], path: Path, limit: int) -> int:
    """Copy the stream to a file; returns its bytes."""
    total = 0
    with path.open("wb") as file:
        while block := source.read(BLOCK_BYTES):
            total += len(block)
            if total > limit:
                raise ModelTooLarge(f"more than the limit of {limit} bytes")
            file.write(block)
    return total


def stored(digest: str, size: int, **more: Any) -> dict[str, Any]:
    """The answer to an upload."""
    return {"digest": digest, "size": size} | more
