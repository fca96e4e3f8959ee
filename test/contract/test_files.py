from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedn.errors import BadInput, FolderUnusable, NotFound
from fedn.storage.files import FileBlobs
from test.contract.blobs_suite import PATH_LIKE, FolderSuite, digest_of

CONTENT = b"0123456789" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

# Dies by SIGKILL at the moment of the rename: the bytes are written, the name is not there.
CRASHING_PUT = """
import os, signal, sys
from pathlib import Path
from fedn.storage.files import FileBlobs
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
blobs = FileBlobs(Path(sys.argv[1]))
getattr(blobs, sys.argv[2])(*([Path(sys.argv[3])] if sys.argv[2] == "put" else []), sys.argv[4])
"""


class TestFiles(FolderSuite):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(folder: Path) -> FileBlobs:
    return FileBlobs(folder)


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def crash(folder: Path, method: str, source: Path) -> None:
    command = [sys.executable, "-c", CRASHING_PUT, str(folder), method, str(source), DIGEST]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9


def test_a_crash_before_the_rename_shows_nothing(blobs: FileBlobs, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    crash(folder, "put", source)
    assert len(files_in(folder)) == 1  # the temporary
    assert (blobs.find(DIGEST), blobs.size(DIGEST), list(blobs.digests())) == (None, None, [])
    blobs.put(source, DIGEST)
    blobs.fetch(DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_leftovers_go_at_the_next_start_when_they_are_old(blobs: FileBlobs, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    crash(folder, "put", source)
    blobs.part("b" * 64).write_bytes(b"young")
    blobs.part("c" * 64).write_bytes(b"old")
    FileBlobs(folder)
    assert len(files_in(folder)) == 3
    old = time.time() - 25 * 3600
    for path in (*folder.glob("*/.*.tmp"), folder / "incoming" / ("c" * 64)):
        os.utime(path, (old, old))
    FileBlobs(folder)
    assert files_in(folder) == [f"incoming/{'b' * 64}"]


def test_old_blobs_stay(blobs: FileBlobs, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    blobs.put(source, DIGEST)
    os.utime(folder / DIGEST[:2] / DIGEST, (0, 0))
    assert FileBlobs(folder).size(DIGEST) == len(CONTENT)


def test_a_kept_part_is_a_blob(blobs: FileBlobs, folder: Path) -> None:
    part = blobs.part(DIGEST)
    part.write_bytes(CONTENT[:10])
    assert (blobs.find(DIGEST), list(blobs.digests())) == (None, [])
    with part.open("ab") as file:
        file.write(CONTENT[10:])
    kept = blobs.keep(DIGEST)
    assert kept == blobs.find(DIGEST)
    assert kept.read_bytes() == CONTENT
    assert files_in(folder) == [f"{DIGEST[:2]}/{DIGEST}"]
    assert blobs.keep(DIGEST) == kept


def test_a_crash_while_keeping_leaves_the_part(blobs: FileBlobs, folder: Path) -> None:
    blobs.part(DIGEST).write_bytes(CONTENT)
    crash(folder, "keep", folder)
    assert (blobs.find(DIGEST), blobs.part(DIGEST).read_bytes()) == (None, CONTENT)
    assert blobs.keep(DIGEST).read_bytes() == CONTENT


def test_there_is_nothing_to_keep_without_a_part(blobs: FileBlobs) -> None:
    with pytest.raises(NotFound):
        blobs.keep(digest_of(b"never came"))


@pytest.mark.parametrize("digest", PATH_LIKE)
def test_a_path_cannot_pass_for_a_part(blobs: FileBlobs, digest: str) -> None:
    for call in (blobs.part, blobs.keep, blobs.find):
        with pytest.raises(BadInput):
            call(digest)


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="cannot be used"):
        FileBlobs(tmp_path / "file")


def test_a_disk_that_refuses_is_one_sentence(blobs: FileBlobs, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    (folder / DIGEST[:2]).rmdir()
    (folder / DIGEST[:2]).write_text("in the way")
    with pytest.raises(FolderUnusable, match="cannot be written: Not a directory"):
        blobs.put(source, DIGEST)


def test_what_is_not_yet_durable_is_not_found(blobs: FileBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a client that is back might have it counted before it is safe (I1)."""
    content = b"an update"
    digest = digest_of(content)
    blobs.part(digest).write_bytes(content)
    seen = []
    synced = os.fsync

    def look(descriptor: int) -> None:
        seen.append(blobs.find(digest))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    kept = blobs.keep(digest)
    assert seen == [None, None]
    assert blobs.find(digest) == kept


def test_after_a_power_failure_unsound_blobs_are_deleted(blobs: FileBlobs, folder: Path) -> None:
    whole, torn, trusted = (digest_of(content) for content in (b"whole", b"torn", b"trusted"))
    for digest, content in ((whole, b"whole"), (torn, b"to"), (trusted, b"")):
        blobs.part(digest).write_bytes(content)
        blobs.keep(digest)
    blobs.drop_unsound({trusted})
    assert sorted(blobs.digests()) == sorted([whole, trusted])


def test_a_lent_file_is_found_until_it_is_deleted(blobs: FileBlobs, folder: Path, tmp_path: Path) -> None:
    path, digest = tmp_path / "sum", digest_of(b"sum")
    path.write_bytes(b"sum")
    blobs.lend(path, digest)
    assert blobs.find(digest) == path
    assert list(blobs.digests()) == [digest]
    assert FileBlobs(folder).find(digest) is None
    blobs.delete(digest)
    assert blobs.find(digest) is None
    assert not path.exists()
