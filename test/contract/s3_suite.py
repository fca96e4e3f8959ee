"""What the store must do on any S3 server, beyond what every blob store must do."""

from __future__ import annotations

import io
import random
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from minio import Minio

from fedn.errors import BadInput, BlobCorrupt, DigestMismatch, FednError, StoreRefused, Unavailable
from fedn.storage.s3 import S3Blobs
from fedn.storage.s3_client import Client
from test.contract.blobs_suite import BlobsSuite, digest_of
from test.cutting import CuttingProxy
from test.stores import S3Server

MB = 1_000_000
LARGE = random.Random(1).randbytes(20 * MB)  # three parts
LARGE_DIGEST = digest_of(LARGE)

# Puts and fetches a blob of so many bytes; prints the process's peak of memory in bytes.
PUT_AND_FETCH = """
import hashlib, resource, sys
from pathlib import Path
from fedn.storage.s3 import S3Blobs
from fedn.storage.urls import s3_place
url, access, secret, path, *sizes = sys.argv[1:]
blobs = S3Blobs(s3_place(url), access_key=access, secret_key=secret)
for size in sizes:
    path, hashed = Path(path), hashlib.sha256()
    with path.open("wb") as file:
        for number in range(int(size) // 1_000_000):
            block = number.to_bytes(4, "big") * 250_000
            hashed.update(block)
            file.write(block)
    blobs.put(path, hashed.hexdigest())
    blobs.fetch(hashed.hexdigest(), path)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def store(server: S3Server, **options: float) -> S3Blobs:
    return S3Blobs(server.place, access_key=server.access_key, secret_key=server.secret_key, **options)


def through(server: S3Server, proxy: CuttingProxy) -> S3Server:
    return replace(server, place=replace(server.place, port=int(proxy.address.rpartition(":")[2])))


def secrets_in(error: BaseException, server: S3Server) -> bool:
    text = "".join(traceback.format_exception(error))
    return server.access_key in text or server.secret_key in text


class S3Suite(BlobsSuite):
    """Needs the fixture `server`: a bucket of the test's own, which is not there yet."""

    checks_what_comes = True  # the server compares a part with the sha256 in its request

    @pytest.fixture
    def blobs(self, server: S3Server) -> S3Blobs:
        return store(server)

    @pytest.fixture
    def client(self, server: S3Server) -> Minio:
        """The library alone, to look and to spoil behind the store's back."""
        place = server.place
        return Minio(
            f"{place.host}:{place.port}", server.access_key, server.secret_key, secure=place.tls, region="us-east-1"
        )

    @pytest.fixture
    def spoil(self, server: S3Server, client: Minio) -> Callable[[str, bytes], None]:
        def overwrite(digest: str, content: bytes) -> None:
            client.put_object(server.place.bucket, digest, io.BytesIO(content), len(content))

        return overwrite

    @pytest.fixture
    def cutting(self, server: S3Server) -> Iterator[Callable[..., CuttingProxy]]:
        proxies: list[CuttingProxy] = []

        def start(**options: object) -> CuttingProxy:
            address = f"{server.place.host}:{server.place.port}"
            proxies.append(CuttingProxy(address, **options))  # type: ignore[arg-type]
            return proxies[-1]

        yield start
        for proxy in proxies:
            proxy.close()

    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        path = tmp_path / "large"
        path.write_bytes(LARGE)
        return path

    def test_what_is_large_goes_in_parts(
        self, blobs: S3Blobs, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent, upload_part = [], Client._upload_part

        def spy(client: Client, bucket: str, key: str, data: bytes, *more: Any) -> str:
            sent.append(len(data))
            return upload_part(client, bucket, key, data, *more)

        monkeypatch.setattr(Client, "_upload_part", spy)
        blobs.put(large, LARGE_DIGEST)
        assert (blobs.size(LARGE_DIGEST), len(sent), sum(sent)) == (len(LARGE), 3, len(LARGE))
        blobs.fetch(LARGE_DIGEST, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == LARGE

    def test_other_bytes_in_parts_are_not_stored(self, blobs: S3Blobs, large: Path) -> None:
        other = digest_of(b"other")
        with pytest.raises(DigestMismatch, match=LARGE_DIGEST):
            blobs.put(large, other)
        assert (blobs.size(other), list(blobs.digests())) == (None, [])

    def test_a_put_mends_a_blob_of_another_size(
        self, blobs: S3Blobs, spoil: Callable[[str, bytes], None], tmp_path: Path
    ) -> None:
        (tmp_path / "blob").write_bytes(b"content")
        digest = digest_of(b"content")
        blobs.put(tmp_path / "blob", digest)
        spoil(digest, b"cont")
        blobs.put(tmp_path / "blob", digest)
        blobs.fetch(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"content"

    def test_digests_come_in_pages(self, blobs: S3Blobs, spoil: Callable[[str, bytes], None]) -> None:
        blobs.check()  # makes the bucket
        names = {f"{number:064x}" for number in range(1010)}
        for name in names:
            spoil(name, b"x")
        spoil("not-a-blob", b"x")
        assert sorted(blobs.digests()) == sorted(names)

    def test_a_signed_address_needs_no_credentials(self, blobs: S3Blobs, large: Path) -> None:
        blobs.put(large, LARGE_DIGEST)
        url = blobs.presigned(LARGE_DIGEST, timedelta(minutes=1))
        answer = httpx.get(url)
        assert (answer.status_code, answer.content == LARGE) == (200, True)
        assert httpx.get(url.replace(LARGE_DIGEST, "0" * 64)).status_code == 403
        with pytest.raises(BadInput, match="7 days"):
            blobs.presigned(LARGE_DIGEST, timedelta(days=8))

    def test_half_an_upload_is_nothing(self, blobs: S3Blobs, client: Minio, server: S3Server) -> None:
        blobs.check()
        digest = digest_of(b"x" * 1000)
        url = urlsplit(client.presigned_put_object(server.place.bucket, digest))
        with socket.create_connection((server.place.host, server.place.port)) as line:
            request = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\n"
            line.sendall(request.encode() + b"x" * 500)
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass  # to the end: the server is done with it
        assert blobs.size(digest) is None

    def test_two_stores_make_one_bucket(self, blobs: S3Blobs, server: S3Server) -> None:
        blobs.check()
        store(server).check()
        other = store(server)
        other._make_bucket()  # it was quicker
        assert list(other.digests()) == []

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [("access_key", "does not know the access key"), ("secret_key", "does not accept FEDN_MINIO_SECRET_KEY")],
    )
    def test_wrong_credentials_are_named(self, server: S3Server, large: Path, wrong: str, named: str) -> None:
        server = replace(server, **{wrong: "0123456789abcdef"})  # type: ignore[arg-type]
        blobs = store(server)
        calls: list[Callable[[], object]] = [
            blobs.check,
            lambda: blobs.put(large, LARGE_DIGEST),
            lambda: blobs.fetch(LARGE_DIGEST, large),
            lambda: blobs.open(LARGE_DIGEST),
            lambda: blobs.size(LARGE_DIGEST),
            lambda: blobs.delete(LARGE_DIGEST),
            lambda: list(blobs.digests()),
        ]
        for call in calls:
            with pytest.raises(StoreRefused, match=named) as caught:
                call()
            assert f"{server.place.host}:{server.place.port}" in caught.value.reason
            assert not secrets_in(caught.value, server)

    def test_a_broken_download_goes_on(
        self, blobs: S3Blobs, server: S3Server, cutting: Callable[..., CuttingProxy], large: Path, tmp_path: Path
    ) -> None:
        blobs.put(large, LARGE_DIGEST)
        proxy = cutting(down=4 * MB, cuts=3)
        store(through(server, proxy)).fetch(LARGE_DIGEST, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == LARGE
        assert proxy.cuts == 0

    def test_a_download_that_breaks_for_ever_ends(
        self, blobs: S3Blobs, server: S3Server, cutting: Callable[..., CuttingProxy], large: Path, tmp_path: Path
    ) -> None:
        blobs.put(large, LARGE_DIGEST)
        (tmp_path / "here").mkdir()
        proxy = cutting(down=100_000, cuts=1000)
        with pytest.raises(Unavailable, match="the connection broke"):
            store(through(server, proxy)).fetch(LARGE_DIGEST, tmp_path / "here" / "out")
        assert list((tmp_path / "here").iterdir()) == []

    def test_a_broken_part_is_sent_again(
        self, blobs: S3Blobs, server: S3Server, cutting: Callable[..., CuttingProxy], large: Path
    ) -> None:
        proxy = cutting(up=5 * MB, cuts=2)
        store(through(server, proxy)).put(large, LARGE_DIGEST)
        assert (proxy.cuts, blobs.size(LARGE_DIGEST)) == (0, len(LARGE))

    @pytest.mark.parametrize("size", [1 * MB, 20 * MB])
    def test_bytes_that_change_on_the_way_are_not_taken_for_the_blob(
        self, blobs: S3Blobs, server: S3Server, cutting: Callable[..., CuttingProxy], tmp_path: Path, size: int
    ) -> None:
        blobs.check()
        (tmp_path / "blob").write_bytes(LARGE[:size])
        digest, proxy = digest_of(LARGE[:size]), cutting(spoils=True)
        if not self.checks_what_comes:
            store(through(server, proxy)).put(tmp_path / "blob", digest)
            with pytest.raises(BlobCorrupt, match=digest):
                blobs.fetch(digest, tmp_path / "out")
            return
        with pytest.raises(Unavailable, match="XAmzContentSHA256Mismatch"):
            store(through(server, proxy)).put(tmp_path / "blob", digest)
        assert blobs.size(digest) is None

    def test_parts_that_the_server_does_not_put_together_are_no_blob(
        self, blobs: S3Blobs, large: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Client, "_complete_multipart_upload", lambda *_: SimpleNamespace(bucket_name=None))
        with pytest.raises(Unavailable, match=f"did not put together the parts of {LARGE_DIGEST}"):
            blobs.put(large, LARGE_DIGEST)
        assert blobs.size(LARGE_DIGEST) is None

    def test_a_put_that_breaks_for_ever_ends_and_leaves_nothing(
        self, blobs: S3Blobs, server: S3Server, cutting: Callable[..., CuttingProxy], large: Path
    ) -> None:
        proxy = cutting(up=1 * MB, cuts=1000)
        with pytest.raises(Unavailable, match=proxy.address) as caught:
            store(through(server, proxy)).put(large, LARGE_DIGEST)
        assert not secrets_in(caught.value, server)
        assert blobs.size(LARGE_DIGEST) is None

    def test_memory_does_not_grow_with_the_blob(self, server: S3Server, tmp_path: Path) -> None:
        command = [sys.executable, "-c", PUT_AND_FETCH, server.url, server.access_key, server.secret_key]
        sizes = [str(50 * MB), str(200 * MB)]
        done = subprocess.run([*command, str(tmp_path / "blob"), *sizes], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        small, large = (int(line) for line in done.stdout.split())
        assert large - small < 16 * MB

    def test_a_damaged_blob_in_parts_is_refused_and_named(
        self, blobs: S3Blobs, spoil: Callable[[str, bytes], None], large: Path, tmp_path: Path
    ) -> None:
        blobs.put(large, LARGE_DIGEST)
        spoil(LARGE_DIGEST, LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
        with pytest.raises(BlobCorrupt, match=LARGE_DIGEST) as caught:
            blobs.fetch(LARGE_DIGEST, tmp_path / "out")
        assert isinstance(caught.value, FednError)
        assert not (tmp_path / "out").exists()
