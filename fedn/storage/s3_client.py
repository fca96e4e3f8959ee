"""The `minio` client as this store needs it: waits that end, blocks of progress, and parts from an iterator."""

from __future__ import annotations

import io
import logging
import math
import ssl
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from minio import Minio
from minio.datatypes import Part
from minio.error import MinioException
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ReadTimeoutError

from fedn.errors import Unavailable
from fedn.storage.urls import S3Place

MIB = 1024 * 1024
SINGLE_BYTES = 16 * MIB  # more goes in parts
PART_BYTES = 8 * MIB
MOST_PARTS = 10_000
AT_ONCE = 3
SEND_BLOCK_BYTES = 256 * 1024
CONNECTIONS = 64
SIZE_S = 4.0
AGAIN: dict[str, Any] = {"total": 2, "backoff_factor": 0.1, "status_forcelist": [500, 502, 503, 504]}
TOGETHER = 15  # times the time limit of other answers
DEFAULT_REGION = "us-east-1"  # what MinIO and Ceph expect of those who name none

logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry; our errors say what came of them


def part_bytes(size: int) -> int:
    """In how large parts a blob of `size` bytes is sent."""
    return SINGLE_BYTES if size <= SINGLE_BYTES else max(PART_BYTES, math.ceil(size / MOST_PARTS))


class OnceIfSilent(Retry):
    """Tries again what broke, but not what has been waited for in vain."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """The tries that are left. Raises MaxRetryError."""
        silent = isinstance(error, ConnectTimeoutError | ReadTimeoutError) and not isinstance(error, NewConnectionError)
        if _pool is not None and silent and error is not None:
            raise MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class Pool(PoolManager):
    """Connections whose every wait has an end. A body goes in blocks: the time limit is one block's, not the body's.

    What only asks for a blob's size (HEAD) is answered at once by a server that is well: pages and readiness ask.
    """

    def __init__(self, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        # to put a blob's parts together can take a server that copies them a while
        self._together = Timeout(connect=connect_timeout_s, read=TOGETHER * read_timeout_s)
        self._size_only = Timeout(total=SIZE_S, connect=connect_timeout_s, read=read_timeout_s)
        super().__init__(
            maxsize=CONNECTIONS,
            blocksize=SEND_BLOCK_BYTES,
            timeout=Timeout(connect=connect_timeout_s, read=read_timeout_s),
            retries=Retry(**AGAIN),
            ssl_context=ssl.create_default_context(),
        )

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **options: Any
    ) -> BaseHTTPResponse:
        """As the pool does; some servers call their XML text, and `minio` would not read it."""
        if method == "POST":
            options["timeout"] = self._together
        if method == "HEAD":
            options |= {"timeout": self._size_only, "retries": OnceIfSilent(**AGAIN)}
        if options.get("body"):
            options["body"] = io.BytesIO(options["body"])
        response = super().urlopen(method, url, redirect, **options)
        if response.headers.get("content-type", "").startswith("text/xml"):
            response.headers["content-type"] = "application/xml"
        return response


class Client(Minio):
    """A client of one server, for all threads of one process. Making it connects to nothing."""

    def __init__(
        self,
        place: S3Place,
        *,
        access_key: str,
        secret_key: str,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        host = f"[{place.host}]" if ":" in place.host else place.host
        amazon = place.host.endswith((".amazonaws.com", ".amazonaws.com.cn"))  # their name says the region
        super().__init__(
            f"{host}:{place.port}",
            access_key=access_key,
            secret_key=secret_key,
            secure=place.tls,
            region=None if amazon else DEFAULT_REGION,
            http_client=Pool(connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s),
        )

    def send(self, bucket: str, key: str, parts: Iterator[bytes], *, size: int) -> None:
        """Store the parts under the key, which appears when the last one is there; a few are under way at once.

        Whatever the iterator raises leaves nothing.
        """
        if size <= SINGLE_BYTES:
            self._put_object(bucket, key, b"".join(parts))
            return
        upload = self._create_multipart_upload(bucket, key, {})
        try:
            sent = self._send_parts(bucket, key, upload, parts)
            done = self._complete_multipart_upload(bucket, key, upload, sent)
            if not done.bucket_name:  # a server may say 200 and then an error
                raise Unavailable(f"the blob store did not put together the parts of {key}")
        except BaseException:
            with suppress(MinioException, HTTPError):  # the first error is the one to tell
                self._abort_multipart_upload(bucket, key, upload)
            raise

    def _send_parts(self, bucket: str, key: str, upload: str, parts: Iterator[bytes]) -> list[Part]:
        sent: list[Future[str]] = []
        under_way: set[Future[str]] = set()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-part") as pool:
            for number, part in enumerate(parts, 1):  # one is read while others are sent
                if len(under_way) == AT_ONCE:
                    ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for each in ended:
                        each.result()
                sent.append(pool.submit(self._upload_part, bucket, key, part, None, upload, number))
                under_way.add(sent[-1])
                del part  # held by its thread alone
        return [Part(number, each.result()) for number, each in enumerate(sent, 1)]
