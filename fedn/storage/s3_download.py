"""A blob as it comes from an S3 server: a stream that goes on where a connection broke."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from fedn.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RESUMES = 5


class Download(io.RawIOBase):
    """The bytes that `get(offset)` gives, resumed up to `RESUMES` times. Not verified.

    `get` raises FednErrors; `explain` says what a broken connection is. Making it asks for the first bytes.
    """

    def __init__(self, get: Callable[[int], BaseHTTPResponse], explain: Callable[[Exception], Exception]) -> None:
        super().__init__()
        self._get, self._explain = get, explain
        self._at, self._resumes = 0, 0
        self._response = get(0)
        self._size = _length(self._response)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill some of the buffer; 0 at the end. Raises Unavailable when the bytes stay away."""
        view = memoryview(buffer).cast("B")
        while self._at < self._size:
            try:
                data = self._response.read(len(view), decode_content=False)
                if not data:
                    raise EOFError
            except (HTTPError, OSError, EOFError) as error:
                self._resume(error)
                continue
            view[: len(data)] = data
            self._at += len(data)
            return len(data)
        return 0

    def close(self) -> None:
        """Give the connection back if all was read, else drop it."""
        if not self.closed:
            self._drop(whole=self._at == self._size)
        super().close()

    def _resume(self, error: Exception) -> None:
        if self._resumes == RESUMES:
            raise self._explain(error) from error
        self._resumes += 1
        self._drop(whole=False)
        self._response = self._get(self._at)
        if _length(self._response) != self._size - self._at:
            raise Unavailable("the blob store sends other bytes than those that were asked for")

    def _drop(self, *, whole: bool) -> None:
        if not whole:
            self._response.close()
        self._response.release_conn()


def _length(response: BaseHTTPResponse) -> int:
    """How many bytes are to come. Without a length an end and a break look alike."""
    length = response.headers.get("content-length", "")
    if not length.isdecimal():
        raise Unavailable("the blob store does not say how long the blob is")
    return int(length)
