"""How blobs are transferred: the same values at both ends."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_LIMIT = 8 * 1024 * 1024  # bytes of one gRPC message, either way
WINDOW_BYTES = 2 * 1024 * 1024  # of a stream that the sender may send ahead of the reader


@dataclass(frozen=True)
class TransferSettings:
    """Sizes in bytes, times in seconds, rates in bytes per second.

    A transfer is given up when the other end moves nothing for ``stall_timeout_s``, or when it has
    long been slower than ``min_rate_bytes_s``. At the default rate one chunk takes just under 30 s,
    so a link that keeps above it is never cut.
    """

    chunk_bytes: int = 1024 * 1024
    stall_timeout_s: float = 30.0
    min_rate_bytes_s: float = 35_000.0


DEFAULTS = TransferSettings()
