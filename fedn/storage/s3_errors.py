"""What an S3 server or the way to it says, as one sentence of ours without any secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)

from fedn.errors import FednError, NotFound, StoreRefused, Unavailable
from fedn.storage.urls import S3Place

NO_BUCKET = "NoSuchBucket"
ABSENT = frozenset({"NoSuchKey", NO_BUCKET, "ResourceNotFound"})
SPOILT = frozenset({"XAmzContentSHA256Mismatch", "BadDigest", "IncompleteBody"})  # on the way: sent again, it may do
NOT_NOW = SPOILT | {"SlowDown", "RequestTimeout", "NoSuchUpload", "OperationAborted", "XMinioServerNotInitialized"}
REFUSALS = {
    "InvalidAccessKeyId": "does not know the access key of FEDN_MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "does not accept FEDN_MINIO_SECRET_KEY for the access key of FEDN_MINIO_ACCESS_KEY",
    "RequestTimeTooSkewed": "has a clock that differs too much from the one of this machine",
}


@contextmanager
def answers(place: S3Place, doing: str) -> Iterator[None]:
    """Turn what `minio` and urllib3 raise into NotFound, StoreRefused or Unavailable; `doing` is "read from", say."""
    try:
        yield
    except (MinioException, HTTPError, ParseError, UnicodeDecodeError) as error:
        raise explained(error, place, doing) from error


def explained(error: Exception, place: S3Place, doing: str) -> FednError:
    """The error in our words; a server's own text is never repeated, but for its code."""
    store = f"the blob store {address(place)}"
    if isinstance(error, HTTPError):
        return _on_the_way(error, store)
    code, status = said(error)
    if code in REFUSALS:
        return StoreRefused(f"{store} {REFUSALS[code]}")
    if code in ABSENT or (status == 404 and code not in NOT_NOW):
        where = "has no bucket" if code == NO_BUCKET else "has no such blob in the bucket"
        return NotFound(f"{store} {where} {place.bucket}")
    if code == "AccessDenied" or status == 403:
        right = f"to {doing} the bucket {place.bucket}"
        return StoreRefused(f"{store} does not allow the access key of FEDN_MINIO_ACCESS_KEY {right}")
    words = ", ".join([*([f"HTTP {status}"] if status else []), *([code] if code else [])]) or "not in S3's language"
    if status >= 500 or code in NOT_NOW or not status:
        return Unavailable(f"{store} cannot {doing} the bucket {place.bucket} now ({words})")
    return StoreRefused(f"{store} refuses to {doing} the bucket {place.bucket} ({words})")


def said(error: Exception) -> tuple[str, int]:
    """The S3 code, or "", and the HTTP status, or 0."""
    if isinstance(error, S3Error):
        return _plain(error.code), error.response.status
    if isinstance(error, ServerError):
        return "", error.status_code
    if isinstance(error, InvalidResponseError):
        return "", int(error._code)  # it is offered in no other way
    return "", 0


def address(place: S3Place) -> str:
    """The host and port, as people write it."""
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _plain(code: str | None) -> str:
    """A code as S3 has them; anything else is not repeated."""
    return code if code and re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else ""


def _on_the_way(error: HTTPError, store: str) -> FednError:
    cause: BaseException | None = error.reason if isinstance(error, MaxRetryError) else error
    if isinstance(cause, SSLError):
        return StoreRefused(f"{store} has no certificate that this machine trusts; SSL_CERT_FILE can name its CA")
    return Unavailable(f"{store} does not answer: {_in_words(cause)}")


def _in_words(cause: BaseException | None) -> str:
    if isinstance(cause, NameResolutionError):
        return "its name is not known"
    if isinstance(cause, NewConnectionError):
        return "the connection is refused" if "refused" in str(cause) else "there is no way to it"
    if isinstance(cause, ConnectTimeoutError | ReadTimeoutError):
        return "it is silent"
    if isinstance(cause, ResponseError):
        return "it reports errors of its own"
    return "the connection broke"
