"""Files that are no trail, made to harm who verifies them: each is refused in a sentence, none unpacked (I7)."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedn.errors import TrailBroken, TrailFileInvalid
from fedn.reducer.trail import Trail
from fedn.storage.sqlite import SqliteState
from fedn.trail.file import FORMAT, LINE_LIMIT_BYTES
from fedn.trail.reader import verify_file
from fedn.trail.records import canonical_json
from test.unit.trail_bench import Blobs, commit, export, packed

Members = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a trail of two rounds."""
    state, blobs = SqliteState(tmp_path_factory.mktemp("trail") / "state.db"), Blobs()
    trail = Trail(state)
    trail.plant(blobs.put(b"seed"), time=0.0)
    for number in (1, 2):
        trail.append(commit(blobs, number))
    records = trail.records()
    state.close()
    return b"".join(export(records, blobs).blocks())


def members_of(file: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(file)) as archive:
        return [(member.name, (archive.extractfile(member) or io.BytesIO()).read()) for member in archive]


def head(**values: Any) -> Callable[[Members], object]:
    """Other values in trail.json."""

    def change(members: Members) -> None:
        members[0] = (members[0][0], canonical_json(json.loads(members[0][1]) | values))

    return change


def content(position: int, edit: Callable[[bytes], bytes]) -> Callable[[Members], object]:
    """Other bytes in a member."""

    def change(members: Members) -> None:
        name, before = members[position]
        members[position] = (name, edit(before))

    return change


def insert(position: int, name: str, what: bytes = b"") -> Callable[[Members], object]:
    return lambda members: members.insert(position, (name, what))


def second_line(line: bytes) -> Callable[[bytes], bytes]:
    return lambda before: before.replace(before.splitlines()[1], line)


DEEP = b"[" * 100_000

CHANGES: dict[str, tuple[Callable[[Members], object], str]] = {
    "another format": (head(format="zip"), f"does not say that the format is {FORMAT}"),
    "another key": (head(surprise=1), "has other keys"),
    "a head that is a list": (content(0, lambda _: b"[]"), "does not say that the format"),
    "a head that is deep": (content(0, lambda _: DEEP), "trail.json is not canonical JSON"),
    "a head that is long": (content(0, lambda _: bytes(LINE_LIMIT_BYTES + 1)), "more than it may"),
    "a head of NaN": (content(0, lambda _: b'{"format":NaN}'), "trail.json is not canonical JSON"),
    "a count of text": (head(records="3"), "has a value that is none"),
    "a count below zero": (head(records=-3), "has a value that is none"),
    "models of another kind": (head(models=["all"]), "has a value that is none"),
    "a newest that is none": (head(newest="../x"), "has a value that is none"),
    "sessions of another kind": (head(finished={"s": "many"}), "has a value that is none"),
    "no head": (lambda m: m.pop(0), "there is 'records.jsonl' where trail.json should be"),
    "no records": (lambda m: m.pop(1), "where records.jsonl should be"),
    "nothing but a head": (lambda m: m.__delitem__(slice(1, None)), "the file ends where records.jsonl should be"),
    "the head twice": (insert(1, "trail.json", b"{}"), "in the archive twice"),
    "a path that leads out": (insert(2, "../../evil"), "'../../evil' leads out of the package"),
    "an absolute path": (insert(2, "/evil"), "absolute path"),
    "a stranger between": (insert(3, "evil"), "there is 'evil' in its place"),
    "a stranger at the end": (insert(99, "evil"), "no record names 'evil'"),
    "the blobs' order": (lambda m: m.insert(2, m.pop(3)), "record 0: its model"),
    "a blob twice": (lambda m: m.append(m[2]), "in the archive twice"),
    "a line that is long": (content(1, second_line(b"0" * 2 * LINE_LIMIT_BYTES)), "line 2 of records.jsonl is not"),
    "a line that is deep": (content(1, second_line(DEEP)), "line 2 of records.jsonl is not canonical JSON"),
    "a line of digits": (content(1, second_line(b"9" * 5000)), "line 2 of records.jsonl is not canonical JSON"),
    "a line that is a list": (content(1, second_line(b"[]")), "line 2 of records.jsonl is not a record"),
    "half a surrogate pair": (content(1, second_line(rb'{"a":"\ud800"}')), "line 2 of records.jsonl is not canonical"),
    "bytes that are not UTF-8": (content(1, second_line(b'{"a":"\xff"}')), "line 2 of records.jsonl is not canonical"),
    "a key twice": (content(1, lambda b: b.replace(b'{"agg', b'{"seq":9,"agg', 1)), "line 1 of records.jsonl"),
    "white space": (content(1, lambda b: b.replace(b":", b": ", 1)), "line 1 of records.jsonl is not canonical JSON"),
    "an empty line": (content(1, lambda b: b"\n" + b), "line 1 of records.jsonl is not canonical JSON"),
    "no end of the last line": (content(1, lambda b: b[:-1]), "line 3 of records.jsonl is not a record"),
    "more records than it says": (head(records=2), "was written with 2 records, and holds 3"),
    "another last record": (head(last="0" * 64), "the last record is not the one"),
}  # fmt: skip


def refused(file: Path) -> str:
    before = set(file.parent.iterdir())
    with pytest.raises((TrailFileInvalid, TrailBroken)) as caught:
        verify_file(file)
    assert set(file.parent.iterdir()) == before
    return caught.value.reason


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_with_other_content_is_refused(what: str, good: bytes, tmp_path: Path) -> None:
    change, said = CHANGES[what]
    members = members_of(good)
    change(members)
    (tmp_path / "trail.tar").write_bytes(packed(members))
    assert said in refused(tmp_path / "trail.tar")


def link(good: bytes) -> bytes:
    member = tarfile.TarInfo("blobs/evil")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member.tobuf() + good


def pax(good: bytes) -> bytes:
    """A header that the export never writes, before a file that verifies."""
    member = tarfile.TarInfo("trail.json")
    size = int.from_bytes(good[124:135], "big")
    assert size
    member.size, member.pax_headers = len(members_of(good)[0][1]), {"comment": "x"}
    return member.tobuf(tarfile.PAX_FORMAT) + good[512:]


BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda good: b"", "truncated"),
    "garbage": (lambda good: b"\x01garbage" * 1000, "not a tar archive"),
    "compressed": (gzip.compress, "is compressed"),
    "a bomb": (lambda good: gzip.compress(bytes(2**24)), "is compressed"),
    "half": (lambda good: good[: len(good) // 2], "truncated"),
    "without its end": (lambda good: good[:-1024], "truncated"),
    "without half its end": (lambda good: good[:-512], "bytes that belong to none"),
    "bytes behind the end": (lambda good: good + b"x", "bytes that belong to none"),
    "a link": (link, "'blobs/evil' is a symbolic link"),
    "a header too many": (pax, "bytes that belong to none"),
    "a size beyond all": (lambda good: good[:124] + b"\x80" + b"\xff" * 11 + good[136:], "not a tar archive"),
}


@pytest.mark.parametrize("what", BYTES)
def test_a_file_of_other_bytes_is_refused(what: str, good: bytes, tmp_path: Path) -> None:
    change, said = BYTES[what]
    (tmp_path / "trail.tar").write_bytes(change(good))
    assert said in refused(tmp_path / "trail.tar")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrailFileInvalid, match="cannot be read"):
        verify_file(tmp_path)


def test_the_file_itself_verifies(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "trail.tar").write_bytes(good)
    assert verify_file(tmp_path / "trail.tar").records == 3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_bytes_ends_in_anything_but_a_sentence(data: st.DataObject, good: bytes, tmp_path: Path) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "trail.tar"
    file.write_bytes(
        bytes(changed[: data.draw(st.integers(0, len(good)))]) if data.draw(st.booleans()) else bytes(changed)
    )
    with suppress(TrailFileInvalid, TrailBroken):
        assert verify_file(file).records == 3  # only what no record and no blob holds was changed


def test_a_record_of_any_json_is_refused_by_name(good: bytes, tmp_path: Path) -> None:
    nested: Any = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    )

    @settings(max_examples=100, deadline=None)
    @given(field=st.sampled_from(sorted(json.loads(members_of(good)[1][1].splitlines()[1]))), value=nested)
    def tries(field: str, value: Any) -> None:
        members = members_of(good)
        lines = members[1][1].splitlines()
        record = json.loads(lines[1])
        if record[field] == value:
            return
        lines[1] = canonical_json(record | {field: value})
        members[1] = (members[1][0], b"\n".join(lines) + b"\n")
        (tmp_path / "trail.tar").write_bytes(packed(members))
        assert refused(tmp_path / "trail.tar").startswith("record ")

    tries()
