from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from urllib3.exceptions import MaxRetryError

from fedn.errors import DigestMismatch, StoreRefused, Unavailable
from fedn.storage.s3 import S3Blobs, verified_parts
from test.contract.blobs_suite import digest_of
from test.contract.s3_suite import LARGE, LARGE_DIGEST, S3Suite, store, through
from test.cutting import CuttingProxy
from test.stores import Ceph, Rclone, S3Server, ceph_server, given_s3, missing, running, s3_server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    with running(Rclone(tmp_path_factory.mktemp("rclone"))) as server:
        yield server


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with ceph_server(tmp_path_factory.mktemp("ceph") / "all") as gateway:
        yield gateway


def own_bucket(server: S3Server) -> S3Server:
    address = f"{server.place.host}:{server.place.port}"
    return s3_server(address, server.access_key, server.secret_key, tls=server.place.tls)


class TestRclone(S3Suite):
    checks_what_comes = False

    @pytest.fixture
    def server(self, rclone: Rclone) -> S3Server:
        return rclone.server()

    @pytest.fixture
    def spoil(self, rclone: Rclone, server: S3Server) -> Callable[[str, bytes], None]:
        def overwrite(digest: str, content: bytes) -> None:
            (rclone.folder / server.place.bucket / digest).write_bytes(content)

        return overwrite


class TestCeph(S3Suite):
    @pytest.fixture
    def server(self, ceph: Ceph) -> S3Server:
        return own_bucket(ceph.owner)

    def test_missing_rights_are_named(self, server: S3Server, ceph: Ceph, blobs: S3Blobs, tmp_path: Path) -> None:
        path = tmp_path / "blob"
        path.write_bytes(b"content")
        digest = digest_of(b"content")
        blobs.put(path, digest)
        stranger = replace(ceph.stranger, place=server.place)
        others = store(stranger)
        calls: list[tuple[str, Callable[[], object]]] = [
            ("list", others.check),
            ("list", lambda: others.put(path, digest)),
            ("read from", lambda: others.fetch(digest, tmp_path / "out")),
            ("read from", lambda: others.open(digest)),
            ("delete from", lambda: others.delete(digest)),
            ("list", lambda: list(others.digests())),
        ]
        for right, call in calls:
            with pytest.raises(StoreRefused, match=f"not allow .* to {right} the bucket {server.place.bucket}"):
                call()
        blobs.fetch(digest, tmp_path / "out")


if given_s3() is not None:

    class TestGiven(S3Suite):
        """The server that FEDN_TEST_S3_URL names, such as a real MinIO."""

        @pytest.fixture
        def server(self) -> S3Server:
            server = given_s3()
            assert server is not None
            return own_bucket(server)


@pytest.fixture
def own_rclone(tmp_path: Path) -> Iterator[Rclone]:
    """One that may be killed."""
    with running(Rclone(tmp_path / "rclone")) as server:
        yield server


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def test_a_server_killed_in_a_put_can_be_put_to_again(own_rclone: Rclone, large: Path, tmp_path: Path) -> None:
    server = own_rclone.server()
    store(server).check()
    proxy = CuttingProxy(own_rclone.address, up=10 * 1024, cuts=1, on_cut=own_rclone.kill)
    blobs = store(through(server, proxy))
    with pytest.raises(Unavailable, match=proxy.address):
        blobs.put(large, LARGE_DIGEST)
    own_rclone.start()
    assert blobs.size(LARGE_DIGEST) is None
    blobs.put(large, LARGE_DIGEST)
    blobs.fetch(LARGE_DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == LARGE
    proxy.close()


def test_a_server_killed_in_a_fetch_can_be_fetched_from_again(own_rclone: Rclone, large: Path, tmp_path: Path) -> None:
    server = own_rclone.server()
    store(server).put(large, LARGE_DIGEST)
    proxy = CuttingProxy(own_rclone.address, down=5_000_000, cuts=1, on_cut=own_rclone.kill)
    blobs = store(through(server, proxy))
    with pytest.raises(Unavailable, match=proxy.address):
        blobs.fetch(LARGE_DIGEST, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "rclone"]
    own_rclone.start()
    blobs.fetch(LARGE_DIGEST, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == LARGE
    proxy.close()


def test_a_server_that_is_not_there_is_named(own_rclone: Rclone, large: Path) -> None:
    blobs = store(own_rclone.server())
    own_rclone.kill()
    for call in (blobs.check, lambda: blobs.put(large, LARGE_DIGEST), lambda: blobs.open(LARGE_DIGEST)):
        with pytest.raises(Unavailable, match=f"{own_rclone.address} does not answer: the connection is refused"):
            call()


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = s3_server(f"127.0.0.1:{silent.getsockname()[1]}", "key", "secret-key")
        with pytest.raises(Unavailable, match="it is silent"):
            store(server, read_timeout_s=0.05).check()


def test_a_silent_server_is_told_quickly_by_who_only_asks_for_a_size() -> None:
    """Pages and readiness ask for it, in threads that others wait for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = s3_server(f"127.0.0.1:{silent.getsockname()[1]}", "key", "secret-key")
        began = time.monotonic()
        with pytest.raises(Unavailable, match="it is silent"):
            store(server).size(LARGE_DIGEST)
        assert time.monotonic() - began < 5


def test_a_server_that_takes_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = s3_server(f"127.0.0.1:{silent.getsockname()[1]}", "key", "secret-key")
        client = store(server, connect_timeout_s=0.05, read_timeout_s=0.05)._client
        with pytest.raises(MaxRetryError, match="timed out"):
            client.send(server.place.bucket, LARGE_DIGEST, iter([LARGE[:16_000_000]]), size=16_000_000)


@pytest.mark.parametrize("size", [0, len(LARGE) - 1, len(LARGE) + 1])
def test_a_file_of_another_size_than_it_had_is_refused(large: Path, size: int) -> None:
    with large.open("rb") as file, pytest.raises(DigestMismatch):
        list(verified_parts(file, size, LARGE_DIGEST))


def test_a_certificate_must_be_trusted(tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *name, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with running(Rclone(tmp_path / "rclone", "--cert", str(certificate), "--key", str(key))) as rclone:
        server = rclone.server(tls=True)
        with pytest.raises(StoreRefused, match=f"{rclone.address} has no certificate that this machine trusts"):
            store(server).check()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        store(server).put(large, LARGE_DIGEST)
        assert store(server).size(LARGE_DIGEST) == len(LARGE)
