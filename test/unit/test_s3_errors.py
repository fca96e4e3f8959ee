"""What a server or the way to it says becomes one sentence of ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)

from fedn.errors import FednError, NotFound, StoreRefused, Unavailable
from fedn.storage.s3_errors import answers
from fedn.storage.urls import S3Place

PLACE = S3Place("store.example", 9000, "models", tls=True)
ANY: Any = None
KEYS = "FEDN_MINIO_ACCESS_KEY"


def s3(code: str, status: int) -> S3Error:
    return S3Error(SimpleNamespace(status=status), code, "secret words of the server", "/x", "1", "2")  # type: ignore[arg-type]


def after_retries(cause: Exception) -> MaxRetryError:
    return MaxRetryError(ANY, "/x", cause)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (s3("NoSuchKey", 404), NotFound, "has no such blob in the bucket models"),
        (s3("NoSuchBucket", 404), NotFound, "has no bucket models"),
        (InvalidResponseError(404, "text/html", "secret words"), NotFound, "has no such blob"),
        (s3("InvalidAccessKeyId", 403), StoreRefused, f"does not know the access key of {KEYS}"),
        (s3("SignatureDoesNotMatch", 403), StoreRefused, "does not accept FEDN_MINIO_SECRET_KEY"),
        (
            s3("AccessDenied", 403),
            StoreRefused,
            f"does not allow the access key of {KEYS} to write to the bucket models",
        ),
        (InvalidResponseError(403, "text/html", "secret words"), StoreRefused, "does not allow"),
        (s3("RequestTimeTooSkewed", 403), StoreRefused, "a clock that differs"),
        (s3("MalformedXML", 400), StoreRefused, r"refuses to write to the bucket models \(HTTP 400, MalformedXML\)"),
        (s3("secret words", 400), StoreRefused, r"\(HTTP 400\)"),
        (s3("SlowDown", 503), Unavailable, r"now \(HTTP 503, SlowDown\)"),
        (s3("NoSuchUpload", 404), Unavailable, "NoSuchUpload"),
        (s3("BadDigest", 400), Unavailable, "BadDigest"),
        (ServerError("secret words", 502), Unavailable, "HTTP 502"),
        (ParseError("secret words"), Unavailable, "not in S3's language"),
        (ProtocolError("secret words"), Unavailable, "does not answer: the connection broke"),
        (
            after_retries(NewConnectionError(ANY, "[Errno 111] Connection refused")),
            Unavailable,
            "connection is refused",
        ),
        (after_retries(NewConnectionError(ANY, "No route to host")), Unavailable, "there is no way to it"),
        (after_retries(NameResolutionError("h", ANY, OSError("x"))), Unavailable, "its name is not known"),  # type: ignore[arg-type]
        (after_retries(ConnectTimeoutError()), Unavailable, "it is silent"),
        (after_retries(ReadTimeoutError(ANY, "/x", "")), Unavailable, "it is silent"),
        (after_retries(ResponseError("too many 503")), Unavailable, "it reports errors of its own"),
        (after_retries(SSLError("secret words")), StoreRefused, "no certificate that this machine trusts"),
    ],
)
def test_each_failure_is_one_sentence_that_names_the_store(error: Exception, kind: type[FednError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught, answers(PLACE, "write to"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.reason.startswith("the blob store store.example:9000 ")
    assert "secret words" not in caught.value.reason
