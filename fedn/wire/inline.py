"""Small blobs travel in the message that names them, instead of in a call of their own: a model with its task, an
update or predictions with their result.

A call costs each end about a millisecond of processor time, which is most of a round with small models. The digest is
checked as ever. Whoever does not know the field fetches the model, and is asked for the update, as before. A client
is given a model once; clients of one process, which share what they fetch, each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedn.errors import DigestMismatch
from fedn.model.whole import whole_file

MOST_BYTES = 32 * 1024  # of one blob
MOST_OF_A_ROUND = 16 * 1024 * 1024  # of the model, for all participants: these messages wait in memory


def checked(content: bytes, digest: str) -> bytes:
    """The content, if it has this sha256. Raises DigestMismatch."""
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise DigestMismatch(f"the {len(content)} bytes of a message are {found[:12]}…, not {digest[:12]}…")
    return content


def of_file(path: Path, *, copies: int = 1) -> bytes:
    """The file's bytes if it is small enough to go ``copies`` times in messages; else, or when it is gone, nothing.

    So little is read sooner than a thread has begun to.
    """
    try:
        if path.stat().st_size > min(MOST_BYTES, MOST_OF_A_ROUND // max(1, copies)):
            return b""
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def to_file(content: bytes, digest: str, path: Path) -> None:
    """Write what came in a message, checked, not synced. Raises DigestMismatch."""
    with whole_file(path, synced=False) as file:
        file.write(checked(content, digest))
