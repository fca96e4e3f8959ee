"""What every blob store must do. An implementation's test class inherits `BlobsSuite` and gives the fixtures."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedn.errors import BadInput, BlobCorrupt, DigestMismatch, NotFound
from fedn.storage.blobs import Blobs

PATH_LIKE = ["", "../x", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "../" + "a" * 61, "a" * 64 + "\n", "/" + "a" * 63]


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class BlobsSuite:
    """Needs the fixtures `blobs`, and `spoil`: overwrite the stored bytes of a blob behind the store's back."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Callable[[bytes], tuple[Path, str]]:
        def write(content: bytes) -> tuple[Path, str]:
            digest = digest_of(content)
            path = tmp_path / f"source-{digest[:8]}"
            path.write_bytes(content)
            return path, digest

        return write

    @pytest.mark.parametrize("size", [1, 1000, 2**20, 5 * 2**20 + 17])
    def test_bytes_come_back(
        self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]], tmp_path: Path, size: int
    ) -> None:
        content = random.Random(size).randbytes(size)
        path, digest = source(content)
        blobs.put(path, digest)
        blobs.fetch(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == content
        with blobs.open(digest) as stream:
            assert stream.read(10) + stream.read() == content
        assert (blobs.size(digest), list(blobs.digests())) == (size, [digest])
        assert path.read_bytes() == content

    def test_what_is_not_here_is_not_found(self, blobs: Blobs, tmp_path: Path) -> None:
        absent = digest_of(b"absent")
        with pytest.raises(NotFound):
            blobs.fetch(absent, tmp_path / "out")
        with pytest.raises(NotFound):
            blobs.open(absent)
        assert blobs.size(absent) is None
        assert not (tmp_path / "out").exists()
        blobs.delete(absent)

    def test_other_bytes_than_announced_are_not_stored(
        self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]]
    ) -> None:
        path, _ = source(b"one")
        other = digest_of(b"two")
        with pytest.raises(DigestMismatch):
            blobs.put(path, other)
        assert (blobs.size(other), list(blobs.digests())) == (None, [])

    def test_a_second_put_moves_no_bytes(
        self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]], tmp_path: Path
    ) -> None:
        path, digest = source(b"content")
        blobs.put(path, digest)
        path.unlink()  # nothing to read: only a store that reads nothing can succeed
        blobs.put(path, digest)
        blobs.fetch(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"content"

    def test_many_puts_of_one_blob_at_once(
        self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]], tmp_path: Path
    ) -> None:
        content = os.urandom(300_000)
        path, digest = source(content)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: blobs.put(path, digest), range(8)))
        blobs.fetch(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == content
        assert list(blobs.digests()) == [digest]

    def test_delete_takes_only_its_blob(self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]]) -> None:
        digests = []
        for number in range(20):
            path, digest = source(str(number).encode())
            blobs.put(path, digest)
            digests.append(digest)
        blobs.delete(digests[0])
        assert sorted(blobs.digests()) == sorted(digests[1:])
        assert blobs.size(digests[0]) is None

    @pytest.mark.parametrize("damage", [b"conten", b"Content", b"content!", b""])
    def test_a_damaged_blob_is_refused_and_named(
        self,
        blobs: Blobs,
        source: Callable[[bytes], tuple[Path, str]],
        spoil: Callable[[str, bytes], None],
        tmp_path: Path,
        damage: bytes,
    ) -> None:
        path, digest = source(b"content")
        blobs.put(path, digest)
        spoil(digest, damage)
        with pytest.raises(BlobCorrupt, match=digest):
            blobs.fetch(digest, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [path.name]

    def test_fetch_replaces_what_was_there(
        self, blobs: Blobs, source: Callable[[bytes], tuple[Path, str]], tmp_path: Path
    ) -> None:
        path, digest = source(b"new")
        blobs.put(path, digest)
        (tmp_path / "out").write_bytes(b"something older")
        blobs.fetch(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"new"

    @pytest.mark.parametrize("digest", PATH_LIKE)
    def test_a_path_cannot_pass_for_a_digest(self, blobs: Blobs, tmp_path: Path, digest: str) -> None:
        (tmp_path / "file").write_bytes(b"x")
        calls: list[Callable[[], object]] = [
            lambda: blobs.put(tmp_path / "file", digest),
            lambda: blobs.fetch(digest, tmp_path / "out"),
            lambda: blobs.open(digest),
            lambda: blobs.size(digest),
            lambda: blobs.delete(digest),
        ]
        for call in calls:
            with pytest.raises(BadInput, match="not a sha256 digest"):
                call()


class FolderSuite(BlobsSuite):
    """The same for a store in the folder ``blobs``."""

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Callable[[str, bytes], None]:
        def overwrite(digest: str, content: bytes) -> None:
            (tmp_path / "blobs" / digest[:2] / digest).write_bytes(content)

        return overwrite
