"""The blob store of a deployment: one bucket of any server that speaks S3, one object per blob, named by its digest.

A put hashes the bytes that it sends, and completes the object only when they are the announced ones. A fetch hashes
the bytes that came, so what a server lost or changed is refused. Rights and upkeep: docs/stores.md.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

from minio.error import S3Error
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError

from fedn.errors import BadInput, BlobCorrupt, DigestMismatch, NotFound, StoreRefused
from fedn.storage.blobs import DIGEST, checked_digest
from fedn.storage.fresh import BLOCK_BYTES, copy, fresh, writing
from fedn.storage.s3_client import Client, part_bytes
from fedn.storage.s3_download import Download
from fedn.storage.s3_errors import NO_BUCKET, address, answers, explained
from fedn.storage.urls import S3Place

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
LONGEST_LINK = timedelta(days=7)


class S3Blobs:
    """`Blobs` in a bucket, which the first put makes if it is missing. Making the object connects to nothing.

    Every method raises Unavailable when the server does not answer, and StoreRefused for credentials that it does not
    accept or that lack rights.
    """

    def __init__(
        self,
        place: S3Place,
        *,
        access_key: str,
        secret_key: str,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._place = place
        self._make = functools.partial(
            Client,
            place,
            access_key=access_key,
            secret_key=secret_key,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._clients: dict[int, Client] = {}

    def put(self, path: Path, digest: str) -> None:
        """Store the file unless all of it is there."""
        stored = self.size(digest)
        if stored is not None and (not path.exists() or path.stat().st_size == stored):
            return
        with path.open("rb") as file, answers(self._place, "write to"):
            try:
                self._send(file, digest)
            except S3Error as error:
                if error.code != NO_BUCKET:
                    raise
                self._make_bucket()
                self._send(file, digest)

    def fetch(self, digest: str, destination: Path) -> None:
        """Copy the blob to a file, verified; a copy can be made again, so it is not synced."""
        folder = destination.parent
        with self._download(digest) as source, writing(folder), fresh(folder, digest) as (target, temporary):
            found = copy(source, target)
            if found != digest:
                where = f"the bucket {self._place.bucket} of {address(self._place)}"
                raise BlobCorrupt(f"the blob {digest} in {where} has the bytes of sha256 {found}", digest=digest)
            target.flush()
            temporary.replace(destination)

    def open(self, digest: str) -> BinaryIO:
        """The blob as a stream, not verified."""
        return cast(BinaryIO, io.BufferedReader(self._download(digest), BLOCK_BYTES))

    def size(self, digest: str) -> int | None:
        """Its bytes, or None."""
        try:
            with answers(self._place, "read from"):
                return self._client.stat_object(self._place.bucket, checked_digest(digest)).size
        except NotFound:
            return None
        except StoreRefused:
            self.check()  # the answer had no body; this one's says what is wrong
            raise

    def delete(self, digest: str) -> None:
        """Delete the blob if it is there."""
        try:
            with answers(self._place, "delete from"):
                self._client.remove_object(self._place.bucket, checked_digest(digest))
        except NotFound:
            return

    def digests(self) -> Iterator[str]:
        """All blobs."""
        try:
            with answers(self._place, "list"):
                for found in self._client.list_objects(self._place.bucket):
                    if DIGEST.fullmatch(found.object_name or ""):
                        yield str(found.object_name)
        except NotFound:
            return

    def presigned(self, digest: str, expires: timedelta) -> str:
        """An address from which anyone can get the blob for that time, without credentials. Raises BadInput."""
        if not timedelta(seconds=1) <= expires <= LONGEST_LINK:
            raise BadInput(f"a link can be valid for a second to {LONGEST_LINK.days} days, not for {expires}")
        with answers(self._place, "read from"):
            return self._client.presigned_get_object(self._place.bucket, checked_digest(digest), expires)

    def check(self) -> None:
        """Ask whether the bucket can be used, and make it if it is missing."""
        try:
            with answers(self._place, "list"):
                for _ in self._client.list_objects(self._place.bucket, prefix="0" * 64):
                    break
        except NotFound:
            with answers(self._place, "create"):
                self._make_bucket()

    @property
    def _client(self) -> Client:
        """This process's client: connections do not survive a fork."""
        return self._clients.get(os.getpid()) or self._clients.setdefault(os.getpid(), self._make())

    def _send(self, file: BinaryIO, digest: str) -> None:
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        self._client.send(self._place.bucket, digest, verified_parts(file, size, digest), size=size)

    def _make_bucket(self) -> None:
        with answers(self._place, "create"):
            try:
                self._client.make_bucket(self._place.bucket)
            except S3Error as error:
                if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise  # else another process was quicker, or it is another's, which the next call shows

    def _download(self, digest: str) -> Download:
        key = checked_digest(digest)

        def get(offset: int) -> BaseHTTPResponse:
            with answers(self._place, "read from"):
                return self._client.get_object(self._place.bucket, key, offset=offset)

        def explain(error: Exception) -> Exception:
            return explained(error if isinstance(error, ProtocolError) else ProtocolError(error), self._place, "read")

        try:
            return Download(get, explain)
        except NotFound:
            raise NotFound(f"there is no blob {digest}") from None


def verified_parts(file: BinaryIO, size: int, digest: str) -> Iterator[bytes]:
    """The file's parts; the last one comes only if all have the digest. Raises DigestMismatch."""
    hashed, left, length = hashlib.sha256(), size, part_bytes(size)
    while True:
        part = file.read(min(length, left))
        hashed.update(part)
        left -= len(part)
        if (not part or not left) and (left or hashed.hexdigest() != digest):
            raise DigestMismatch(f"{file.name} has sha256 {hashed.hexdigest()}, not {digest}")
        yield part
        if not left:
            return
