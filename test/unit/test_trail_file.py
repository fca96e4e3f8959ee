"""A trail as one file: what is in it, that its bytes are the same each time, and what it takes to write and read it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fedn.config import ReducerSettings
from fedn.errors import BlobCorrupt, SeedMissing, TrailBroken
from fedn.reducer.desk import Desk
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.trail import Trail, seed_record
from fedn.storage.sqlite import SqliteState
from fedn.trail.export import Export
from fedn.trail.file import MODELS, Models
from fedn.trail.reader import verify_file
from fedn.trail.records import record_hash
from test.unit.trail_bench import Blobs, commit, digest, export, write

ROUNDS = 4


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def records(state: SqliteState, blobs: Blobs) -> list[dict[str, Any]]:
    """A seed, four rounds, and a lineage that began with the model of round 2 once more."""
    trail = Trail(state)
    trail.plant(blobs.put(b"seed"), time=0.0)
    for number in range(1, ROUNDS + 1):
        trail.append(commit(blobs, number))
    trail.begin_lineage(digest(b"model 2"), time=9.0)
    return trail.records()


def test_equal_content_gives_equal_bytes(records: list[dict[str, Any]], blobs: Blobs, tmp_path: Path) -> None:
    first = write(tmp_path / "a.tar", export(records, blobs)).read_bytes()
    shuffled = [dict(reversed(record.items())) for record in records]
    assert write(tmp_path / "b.tar", export(shuffled, blobs)).read_bytes() == first


def test_any_tool_can_look_into_it(records: list[dict[str, Any]], blobs: Blobs, tmp_path: Path) -> None:
    file = write(tmp_path / "trail.tar", export(records, blobs))
    with tarfile.open(file, "r:") as archive:
        contents = {member.name: (archive.extractfile(member) or io.BytesIO()).read() for member in archive}
    assert list(contents)[:2] == ["trail.json", "records.jsonl"]
    assert [json.loads(line) for line in contents.pop("records.jsonl").splitlines()] == records
    assert json.loads(contents.pop("trail.json"))["models"] == "all"
    assert contents == {f"blobs/{name}": content for name, content in blobs.contents.items()}


@pytest.mark.parametrize(("models", "checked", "left_out"), [("all", 6, 0), ("latest", 2, 4), ("none", 0, 6)])
def test_models_may_be_left_out_and_verify_says_how_many(
    records: list[dict[str, Any]], blobs: Blobs, tmp_path: Path, models: Models, checked: int, left_out: int
) -> None:
    """The newest model is also that of round 2, whose blob is in the file once."""
    verified = verify_file(write(tmp_path / "trail.tar", export(records, blobs, models=models)))
    assert (verified.records, verified.lineages, verified.last) == (ROUNDS + 2, 2, records[-1]["hash"])
    assert (verified.blobs, verified.left_out) == (ROUNDS + checked, left_out)


def test_what_the_store_has_lost_is_named_before_anything_is_written(
    records: list[dict[str, Any]], blobs: Blobs
) -> None:
    del blobs.contents[records[2]["receipt"]]
    with pytest.raises(TrailBroken, match=r"record 2: its receipt .* is not in the blob store"):
        export(records, blobs)
    with pytest.raises(TrailBroken, match="empty"):
        export([], blobs)


def test_a_blob_that_ends_early_ends_the_export(records: list[dict[str, Any]], blobs: Blobs) -> None:
    made = export(records, blobs)
    blobs.size = lambda wanted: len(blobs.contents[wanted]) + 1  # type: ignore[method-assign]
    seed = records[0]["model"]
    with pytest.raises(BlobCorrupt, match=rf"{seed} has 4 bytes.*5"):
        list(made.blocks())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk.open(ReducerSettings(dir=tmp_path / "reducer"))
    yield desk
    desk.close()


def planted(desk: Desk, folder: Path, content: bytes) -> str:
    path = folder / "blob"
    path.write_bytes(content)
    desk.blobs.put(path, digest(content))
    return digest(content)


def test_an_export_holds_what_there_was_when_it_began(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(SeedMissing):
        desk.export("all")
    first = desk.trail.plant(planted(desk, tmp_path, b"seed"), time=0.0)
    made = desk.export("all")
    desk.trail.begin_lineage(planted(desk, tmp_path, b"other"), time=1.0)
    verified = verify_file(write(tmp_path / "trail.tar", made))
    assert (verified.records, verified.last) == (1, first["hash"])


def test_an_export_knows_the_sessions_that_finished(desk: Desk, tmp_path: Path) -> None:
    desk.trail.plant(planted(desk, tmp_path, b"seed"), time=0.0)
    session = desk.sessions.create(SessionConfig(rounds=3))["_id"]
    assert desk.export("all").head.finished == {}
    desk.sessions.end(session, "finished")
    file = write(tmp_path / "trail.tar", desk.export("all"))
    with pytest.raises(TrailBroken, match=f"session {session} finished with 3 rounds, and the trail ends after 0"):
        verify_file(file)


def test_a_record_that_the_store_has_lost_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.trail, "latest", lambda: {"seq": 0})
    with pytest.raises(TrailBroken, match="record 0 is not in the store"):
        desk.export("all")


@pytest.mark.parametrize("spoilt", [b"SPOI", b"SPO", b"SPOILT"], ids=["changed", "shorter", "longer"])
def test_bytes_that_differ_from_their_digest_are_named_and_never_exported(
    desk: Desk, tmp_path: Path, spoilt: bytes
) -> None:
    seed = planted(desk, tmp_path, b"seed")
    desk.trail.plant(seed, time=0.0)
    made = desk.export("all")
    (stored,) = desk.settings.dir.glob(f"blobs/*/{seed}")
    stored.write_bytes(spoilt)
    sent: list[bytes] = []
    with pytest.raises(BlobCorrupt, match=seed):
        sent.extend(made.blocks())
    assert sent
    assert sum(map(len, sent)) < made.size  # so the answer ends before the length that it announced
    assert spoilt not in b"".join(sent)
    assert list(desk.uploads.iterdir()) == []


class Zeros(io.RawIOBase):
    """So many zeros, which nobody holds."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        given = min(self._left, size)
        self._left -= given
        return bytes(given)


class Large:
    """A store with one model of 96 MiB."""

    bytes = 96 * 2**20

    def size(self, wanted: str) -> int:
        return self.bytes

    def verified(self, wanted: str) -> BinaryIO:
        return Zeros(self.bytes)  # type: ignore[return-value]


def test_neither_writing_nor_reading_holds_a_model_in_memory(tmp_path: Path) -> None:
    model = hashlib.sha256(bytes(Large.bytes)).hexdigest()
    seed = seed_record(model, None, time=0.0)
    record, file = seed | {"hash": record_hash(seed)}, tmp_path / "trail.tar"
    made = Export.measure(lambda: [record], Large(), models="all", finished={})

    def writes() -> None:
        with file.open("wb") as out:
            out.writelines(made.blocks())

    assert peak(writes) < 8 * 2**20
    assert peak(lambda: verify_file(file)) < 8 * 2**20
    assert file.stat().st_size == made.size > Large.bytes


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_choice_of_models_is_offered() -> None:
    assert MODELS == ("all", "latest", "none")
