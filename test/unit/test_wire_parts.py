"""The chunks of a file, wherever its bytes are at the moment."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from fedn.wire import parts
from fedn.wire.parts import PartWriter, chunks
from fedn.wire.settings import DEFAULTS

DATA = random.Random(1).randbytes(5 * 2**20 + 17)


async def read(path: Path, *, offset: int, chunk_bytes: int = DEFAULTS.chunk_bytes) -> bytes:
    return b"".join([bytes(chunk) async for chunk in chunks(path, offset=offset, chunk_bytes=chunk_bytes)])


def written(path: Path, *, cached: bool) -> Path:
    with path.open("wb") as file:
        file.write(DATA)
        file.flush()
        os.fsync(file.fileno())
        if not cached:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("offset", [0, 1, 2**20, len(DATA) - 1, len(DATA)])
async def test_a_file_is_read_from_an_offset_on(tmp_path: Path, cached: bool, offset: int) -> None:
    assert await read(written(tmp_path / "file", cached=cached), offset=offset) == DATA[offset:]


@pytest.mark.parametrize("answer", [0, OSError(errno.EOPNOTSUPP, "no"), NotImplementedError()])
async def test_where_the_cache_is_not_told_of_a_file_is_read_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | Exception
) -> None:
    """Linux 5.10 says 0 bytes where a wait would bring more; a Python built without preadv2 refuses the flag."""
    real, asked = os.preadv, 0

    def preadv(file: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        nonlocal asked
        if not flags:
            return real(file, buffers, offset)
        asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(os, "preadv", preadv)
    assert await read(written(tmp_path / "file", cached=True), offset=3) == DATA[3:]
    assert asked


async def test_a_python_without_the_flag_reads_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_NO_WAIT", None)
    assert await read(written(tmp_path / "file", cached=True), offset=3) == DATA[3:]


async def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await read(tmp_path / "file", offset=0) == b""


async def test_room_is_made_once_and_not_before_the_first_bytes_come(tmp_path: Path) -> None:
    made: list[int] = []
    path = tmp_path / "part"
    size = 3 * 2**20
    async with PartWriter(path, digest="0" * 64, size=size, make_room=lambda: made.append(path.stat().st_size)) as part:
        assert made == []
        for start in range(0, size, 2**20):
            await part.add(DATA[start : start + 2**20])
    assert made == [0]
