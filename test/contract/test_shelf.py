"""The combiner's shelf is a blob store like the others; and it looks at its folder once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedn.combiner.shelf import Shelf
from test.contract.blobs_suite import FolderSuite, digest_of


class TestShelf(FolderSuite):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Shelf:
        return Shelf(tmp_path / "blobs")


def test_what_comes_and_goes_is_known_and_so_is_what_was_there_before(tmp_path: Path) -> None:
    shelf, digests = Shelf(tmp_path), [digest_of(content) for content in (b"kept", b"stored", b"deleted")]
    shelf.part(digests[0]).write_bytes(b"kept")
    shelf.keep(digests[0])
    shelf.store(b"stored", digests[1])
    shelf.store(b"deleted", digests[2])
    shelf.delete(digests.pop())
    lent = tmp_path / "lent"
    lent.write_bytes(b"lent")
    shelf.lend(lent, digest_of(b"lent"))
    assert sorted(shelf.digests()) == sorted([*digests, digest_of(b"lent")])
    assert sorted(Shelf(tmp_path).digests()) == sorted(digests)
