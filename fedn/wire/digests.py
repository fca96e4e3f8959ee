"""The names of blobs, as they arrive over the wire."""

from __future__ import annotations

import re

from fedn.errors import BadInput

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def checked(digest: str) -> str:
    """``digest`` itself, if it is a sha256 in lower-case hex; BadInput otherwise.

    Everything else is refused before it comes near a path.
    """
    if not _SHA256.fullmatch(digest):
        raise BadInput(f"not a sha256 in lower-case hex: {digest[:80]!r}")
    return digest
