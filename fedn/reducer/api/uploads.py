"""Seed model and compute package: files that users upload, streamed to disk, checked before anything is kept."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from flask import Request

from fedn.errors import BadInput, ModelTooLarge

BLOCK_BYTES = 2**20


def requests_into(folder: Path) -> type[Request]:
    """Requests whose files of forms go into this folder: the place of temporary files may be in memory, and small."""

    class Received(Request):
        def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
            return TemporaryFile(dir=folder, prefix="form-")

    return Received


@contextmanager
def received(
    sent: Request, *, field: str, folder: Path, limit: int, too_large: type[BadInput] = ModelTooLarge
) -> Iterator[Path]:
    """The uploaded file (a form's file field, or the whole body) in a temporary file, gone afterwards.

    Raises BadInput when there is none, `too_large` beyond `limit` bytes.
    """
    if sent.content_length is not None and sent.content_length > limit + 2**20:
        raise too_large(f"{sent.content_length} bytes; the limit is {limit}")
    path = folder / f"upload-{uuid.uuid4().hex}"
    try:
        if copy(source_of(sent, field), path, limit, too_large) == 0:
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


def copy(source: IO[bytes], path: Path, limit: int, too_large: type[BadInput]) -> int:
    """Copy the stream to a file; returns its bytes."""
    total = 0
    with path.open("wb") as file:
        while block := source.read(BLOCK_BYTES):
            total += len(block)
            if total > limit:
                raise too_large(f"more than the limit of {limit} bytes")
            file.write(block)
    return total
