"""Where the stores of a deployment are: ``mongodb://HOST:PORT/DATABASE`` and ``s3://HOST:PORT/BUCKET?tls=false``.

An address carries no credentials: these are settings of their own, so that an address can be logged and shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from fedn.errors import ConfigInvalid


@dataclass(frozen=True)
class MongoPlace:
    """A database of a server that speaks the MongoDB wire protocol."""

    host: str
    port: int
    database: str


@dataclass(frozen=True)
class S3Place:
    """A bucket of a server that speaks S3; with `tls` unless the address says ``?tls=false``."""

    host: str
    port: int
    bucket: str
    tls: bool


def mongo_place(url: str) -> MongoPlace:
    """The place that a `state` setting names; the setting's pattern was checked. Raises ConfigInvalid."""
    parts = urlsplit(url)
    host, port = _host_and_port("state", parts)
    return MongoPlace(host, port, parts.path.strip("/"))


def s3_place(url: str) -> S3Place:
    """The place that a `blobs` setting names; the setting's pattern was checked. Raises ConfigInvalid."""
    parts = urlsplit(url)
    host, port = _host_and_port("blobs", parts)
    bucket = parts.path.strip("/")
    if re.search(r"\.[.-]|-\.", bucket) or re.fullmatch(r"[0-9.]+", bucket):
        raise ConfigInvalid(
            f"blobs: {bucket!r} is no name of a bucket: neither an address, nor with '..', '.-' or '-.'"
        )
    return S3Place(host, port, bucket, tls=parse_qs(parts.query).get("tls") != ["false"])


def _host_and_port(setting: str, parts: SplitResult) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ConfigInvalid(f"{setting}: {parts.netloc!r} is not HOST:PORT with a port from 1 to 65535")
    return host, port
