"""The port of the blob store: bytes under the sha256 of these bytes.

What is under a digest never changes, so a put can be repeated, and a reader can check what it got.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from fedn.errors import BadInput

DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """A content-addressed store, used by many threads and processes at once.

    Every method raises BadInput for a digest that is not 64 lower-case hexadecimal digits.
    """

    def put(self, path: Path, digest: str) -> None:
        """Store the file, durably; a blob that is there is left alone. Raises DigestMismatch, and stores nothing."""

    def fetch(self, digest: str, destination: Path) -> None:
        """Copy the blob to a file, which appears when it is complete. Raises NotFound, BlobCorrupt."""

    def open(self, digest: str) -> BinaryIO:
        """The blob as a stream, which the caller closes; it is not verified. Raises NotFound."""

    def size(self, digest: str) -> int | None:
        """Its bytes, or None when it is not here."""

    def delete(self, digest: str) -> None:
        """Delete the blob; one that is not here is fine."""

    def digests(self) -> Iterator[str]:
        """All blobs, in no order."""


def checked_digest(digest: str) -> str:
    """The digest, which can be a file's name and nothing else. Raises BadInput."""
    if not DIGEST.fullmatch(digest):
        raise BadInput(f"{digest[:80]!r} is not a sha256 digest: 64 lower-case hexadecimal digits")
    return digest
