"""How blobs are transferred: the same values at both ends."""

from __future__ import annotations

from dataclasses import dataclass

from fedn.config import MIN_RATE_BYTES_S

MESSAGE_LIMIT = 8 * 1024 * 1024  # bytes of one gRPC message, either way
WINDOW_BYTES = 2 * 1024 * 1024  # of a stream that the sender may send ahead of the reader


@dataclass(frozen=True)
class TransferSettings:
    """Sizes in bytes, rates in bytes per second.

    A transfer is given up when the other end moves nothing for as long as one chunk takes at ``min_rate_bytes_s``
    (just under 30 s), or when it has long been slower than that. One that keeps above it is never cut: what a sender
    has sent may still be on its way, up to ``ahead_bytes``.
    """

    chunk_bytes: int = 1024 * 1024
    ahead_bytes: int = WINDOW_BYTES
    min_rate_bytes_s: float = MIN_RATE_BYTES_S


DEFAULTS = TransferSettings()
