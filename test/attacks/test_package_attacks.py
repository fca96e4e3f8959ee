"""Archives that a stranger might send, each refused by name, with nothing written outside or left behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from fedn.errors import PackageInvalid
from fedn.package.archive import PackageLimits, inspect, unpack

YAML = b"name: evil\nentry_points: {train: x}\n"
Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"x") -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "", size: int = 0) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info, b""


def sized(name: str, size: int) -> Entry:
    """A header that announces more than follows."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info, b""


def pax(records: dict[str, str], name: str = "file") -> Entry:
    info, content = file(name)
    info.pax_headers = records
    return info, content


def archive(entries: Sequence[Entry], form: Literal[0, 1, 2] = tarfile.PAX_FORMAT) -> bytes:
    out = b""
    for info, content in entries:
        out += info.tobuf(form) + content + b"\0" * (-len(content) % 512)
    return out + b"\0" * 1024


MANIFEST = file("fedn.yaml", YAML)

ATTACKS: dict[str, tuple[bytes, str]] = {
    "absolute path": (archive([MANIFEST, file("/tmp/evil")]), "'/tmp/evil' is an absolute path"),
    "two slashes": (archive([MANIFEST, file("//tmp/evil")]), "is an absolute path"),
    "parent": (archive([MANIFEST, file("../evil")]), "'../evil' leads out of the package"),
    "parent inside": (archive([MANIFEST, file("a/../../evil")]), "leads out of the package"),
    "parent that comes back": (archive([MANIFEST, file("a/../fedn.yaml")]), "leads out of the package"),
    "long parent (pax)": (archive([MANIFEST, file("../" + "e" * 200)]), "leads out of the package"),
    "long parent (gnu)": (archive([MANIFEST, file("../" + "e" * 200)], tarfile.GNU_FORMAT), "leads out of the package"),
    "symbolic link": (archive([MANIFEST, special("l", tarfile.SYMTYPE, "/etc/passwd")]), "'l' is a symbolic link"),
    "link as folder": (
        archive([MANIFEST, special("l", tarfile.SYMTYPE, "/tmp"), file("l/evil")]),
        "'l' is a symbolic link",
    ),
    "hard link": (archive([MANIFEST, special("h", tarfile.LNKTYPE, "/etc/passwd")]), "'h' is a hard link"),
    "character device": (archive([MANIFEST, special("d", tarfile.CHRTYPE)]), "'d' is a device"),
    "block device": (archive([MANIFEST, special("d", tarfile.BLKTYPE)]), "'d' is a device"),
    "pipe": (archive([MANIFEST, special("p", tarfile.FIFOTYPE)]), "'p' is a pipe"),
    "unknown type": (archive([MANIFEST, special("u", b"V")]), "'u' is of the unknown type"),
    "duplicate": (archive([MANIFEST, file("a"), file("a", b"y")]), "'a' is in the archive twice"),
    "duplicate spelt otherwise": (archive([MANIFEST, file("a/b"), file("./a//b")]), "'a/b' is in the archive twice"),
    "second manifest": (archive([MANIFEST, MANIFEST]), "'fedn.yaml' is in the archive twice"),
    "file then folder": (archive([MANIFEST, file("a"), file("a/b")]), "'a' is a file and a folder"),
    "folder then file": (archive([MANIFEST, file("a/b"), file("a")]), "'a' is in the archive twice"),
    "control characters": (archive([MANIFEST, file("a\x1b[2J")]), "no name for a file"),
    "a name for the root": (archive([MANIFEST, file(".")]), "no name for a file"),
    "long name part": (archive([MANIFEST, file("n" * 256)]), "is too long"),
    "long path": (archive([MANIFEST, file("/".join(["n" * 100] * 11))]), "is too long"),
    "no manifest": (archive([file("train.py")]), "there is no fedn.yaml at the archive's root"),
    "manifest not at the root": (archive([file("sub/fedn.yaml", YAML)]), "there is no fedn.yaml at the archive's root"),
    "no train": (archive([file("fedn.yaml", YAML.replace(b"train", b"validate"))]), "there is no entry point 'train'"),
    "unknown key": (archive([file("fedn.yaml", YAML + b"evil: 1\n")]), "fedn.yaml:3: unknown key 'evil'"),
    "object in yaml": (archive([file("fedn.yaml", b"!!python/object/apply:os.getcwd []")]), "tags are not supported"),
    "huge manifest": (archive([file("fedn.yaml", YAML + b"#" * 2**21)]), "fedn.yaml: larger than 1048576 bytes"),
    "empty": (b"", "truncated"),
    "nothing inside": (archive([]), "there is no fedn.yaml"),
    "not tar": (b"PK\x03\x04" + b"z" * 2000, "not a tar archive"),
    "truncated header": (archive([MANIFEST])[:700], "truncated"),
    "truncated bytes": (archive([file("fedn.yaml", YAML * 100)])[:1024], "truncated"),
    "no end": (archive([MANIFEST])[:1024], "truncated"),
    "more announced than there is": (archive([MANIFEST, sized("big", 10**6)]), "truncated"),
    "more announced than allowed": (archive([MANIFEST, sized("big", 2**32)]), "unpacks to more than 10000000 bytes"),
    "negative size": (archive([MANIFEST, sized("neg", -5)], tarfile.GNU_FORMAT), "impossible size"),
    "folder with bytes": (archive([MANIFEST, special("d", tarfile.DIRTYPE, size=5)]), "'d' has an impossible size"),
    "pax size": (archive([MANIFEST, pax({"size": "99999"})]), "sets 'size' in an extended header"),
    "pax sparse": (archive([MANIFEST, pax({"GNU.sparse.major": "1"})]), "sets 'GNU.sparse.major'"),
    "pax link": (archive([MANIFEST, pax({"linkpath": "/etc"})]), "sets 'linkpath'"),
    "pax path": (archive([MANIFEST, pax({"path": "/tmp/evil"})]), "'/tmp/evil' is an absolute path"),
    "large pax header": (archive([MANIFEST, pax({"comment": "x" * 70_000})]), "extended header without reason"),
    "not gzip": (b"\x1f\x8b" + b"\0" * 600, "cannot be decompressed"),
    "broken gzip": (gzip.compress(archive([MANIFEST]))[:40] + b"\xff" * 60, "cannot be decompressed"),
    "cut gzip": (gzip.compress(random.Random(1).randbytes(2000))[:400], "cannot be decompressed"),
    "files without end": (archive([MANIFEST, *(file(f"f{n}") for n in range(150))]), "more than 100 files"),
    "folders without end": (
        archive([MANIFEST, *(special(f"d{n}", tarfile.DIRTYPE) for n in range(150))]),
        "more than 100 files",
    ),
    "folders in folders": (archive([MANIFEST, file("/".join("d" * 200))]), "more than 100 files"),
    "bomb": (gzip.compress(archive([MANIFEST, file("zeros", b"\0" * 20_000_000)])), "unpacks to more than 10000000"),
    "bomb of headers": (
        gzip.compress(archive([MANIFEST])[:1024] + archive([pax({"comment": "x" * 60_000})])[:-2048] * 300),
        "the archive is larger than its limits allow",
    ),
}  # fmt: skip
LIMITS = PackageLimits(max_files=100, max_bytes=10_000_000)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PackageInvalid) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_refused_with_its_reason_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    content, reason = ATTACKS[name]
    path = tmp_path / "evil.tar"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    unpacked = refusal(lambda: unpack(path, digest, tmp_path / "a" / "b" / "out", limits=LIMITS))
    inspected = refusal(lambda: inspect(path, limits=LIMITS))
    assert reason in unpacked
    assert inspected == unpacked
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["a", "a/b", "evil.tar"]


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as out:
        out.write(archive([MANIFEST])[:1024])
        out.write(tarfile.TarInfo.tobuf(sized("zeros", 200 * 2**20)[0]))
        for _ in range(200):
            out.write(b"\0" * 2**20)
    assert bomb.stat().st_size < 2**20
    tracemalloc.start()
    try:
        assert "unpacks to more than" in refusal(lambda: inspect(bomb, limits=LIMITS))
        info_limits = PackageLimits(max_bytes=201 * 2**20)
        assert "truncated" in refusal(lambda: inspect(bomb, limits=info_limits))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


@pytest.mark.parametrize("seed", range(100))
def test_damaged_archives_are_read_right_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as tar:
        for info, content in (MANIFEST, file("é" * 120), file("dir/file", b"y" * 700)):
            tar.addfile(info, io.BytesIO(content))
    damaged = bytearray(buffer.getvalue()[:7000])
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    path = tmp_path / "p.tar"
    path.write_bytes(damaged)
    try:
        unpack(path, hashlib.sha256(damaged).hexdigest(), tmp_path / "x" / "out", limits=LIMITS)
    except PackageInvalid:
        assert list((tmp_path / "x").iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"p.tar", "x"}
