"""Data sets: real files where they are here, a server of our own for what is downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fedn.data import cifar10, datasets, files, mnist
from fedn.data.files import DataFile, fetching
from fedn.errors import DataInvalid, DataMissing

CONTENT = bytes(range(256)) * 40
FOLDER = "mnist"


@dataclass
class Server:
    """Serves `replies` by path, and counts who asked."""

    url: str
    replies: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked.append(self.path)
            content = serving.replies.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = False  # so that leaving the block waits for the replies
        serving = Server(f"http://127.0.0.1:{http.server_port}/")
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield serving
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no folder of data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDN_DATA_DIR", raising=False)
    return tmp_path / "cache" / "fedn" / "data"


@pytest.fixture
def file(server: Server) -> DataFile:
    server.replies["/some.gz"] = gzip.compress(CONTENT)
    return DataFile("some/some", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), f"{server.url}some.gz")


def read(file: DataFile, folder: Path | None = None) -> bytes:
    return files.read(file, folder, lambda: datasets._download(file.url)).tobytes()


def gz(folder: Path, content: bytes, name: str = "some") -> Path:
    path = folder / "some" / f"{name}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ── finding, downloading, keeping ─────────────────────────────────────────────────────────────────


def test_a_file_is_downloaded_once_and_then_mapped(file: DataFile, server: Server, cache: Path) -> None:
    assert [read(file), read(file)] == [CONTENT, CONTENT]
    assert server.asked == ["/some.gz"]
    assert sorted(path.suffix for path in (cache / "some").iterdir()) == [f".{file.sha256[:16]}", ".lock"]
    content = files.read(file, None, lambda: pytest.fail("it is here"))
    assert isinstance(content.base, np.memmap)
    assert not content.flags.writeable


def test_ten_threads_at_once_download_once(file: DataFile, server: Server) -> None:
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _: read(file), range(10))) == {CONTENT}
    assert server.asked == ["/some.gz"]


def test_four_processes_at_once_download_once(file: DataFile, server: Server) -> None:
    script = (
        "from fedn.data import files, datasets\n"
        f"file = files.{file!r}\n"
        "print(files.read(file, None, lambda: datasets._download(file.url)).sum())\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(4)]
    sums = {process.communicate(timeout=120)[0] for process in running}
    assert sums == {f"{sum(CONTENT)}\n".encode()}
    assert server.asked == ["/some.gz"]


def test_the_folder_of_data_comes_before_a_download(
    file: DataFile, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gz(tmp_path / "data", gzip.compress(CONTENT))
    monkeypatch.setenv("FEDN_DATA_DIR", str(tmp_path / "data"))
    assert read(file) == CONTENT
    assert server.asked == []


def test_a_folder_that_is_named_comes_before_the_environments(
    file: DataFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gz(tmp_path / "named", gzip.compress(CONTENT))
    gz(tmp_path / "environment", b"another")
    monkeypatch.setenv("FEDN_DATA_DIR", str(tmp_path / "environment"))
    assert read(file, tmp_path / "named") == CONTENT


def test_what_is_kept_in_part_is_made_anew(file: DataFile, cache: Path) -> None:
    read(file)
    (kept,) = (cache / "some").glob(f"*.{file.sha256[:16]}")
    for content in (CONTENT[:-1], b""):
        kept.write_bytes(content)
        assert read(file) == CONTENT


def test_a_cache_that_cannot_be_written_stops_nobody(file: DataFile, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert read(file) == CONTENT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(CONTENT[:-1]), "some.gz is not some/some: its content has another sha256"),
        (gzip.compress(CONTENT)[:-9], "some.gz cannot be read: "),
        (b"<html>", "some.gz cannot be read: "),
    ],
)
def test_a_file_that_is_another_is_refused_by_name_and_not_kept(
    file: DataFile, tmp_path: Path, cache: Path, content: bytes, reason: str
) -> None:
    given = gz(tmp_path, content)
    with pytest.raises(DataInvalid) as refused:
        read(file, tmp_path)
    assert refused.value.reason.startswith(f"{given.parent}/{reason}")
    assert list((cache / "some").glob(f"*.{file.sha256[:16]}")) == []
    given.unlink()
    assert read(file, tmp_path) == CONTENT


@pytest.mark.parametrize("content", [gzip.compress(b"other"), gzip.compress(CONTENT)[:-9], b"<html>", None])
def test_a_download_that_is_another_is_refused(file: DataFile, server: Server, content: bytes | None) -> None:
    server.replies.pop("/some.gz")
    if content is not None:
        server.replies["/some.gz"] = content
    with pytest.raises((DataInvalid, DataMissing)) as refused:
        read(file)
    assert f"{server.url}some.gz" in refused.value.reason
    server.replies["/some.gz"] = gzip.compress(CONTENT)
    assert read(file) == CONTENT


def test_without_a_network_one_sentence_says_what_to_fetch(file: DataFile, tmp_path: Path) -> None:
    away = DataFile(file.path, file.size, file.sha256, "http://127.0.0.1:9/some.gz")
    advice = "; put some/some.gz in the folder that FEDN_DATA_DIR names"
    with pytest.raises(DataMissing) as missing:
        read(away)
    assert missing.value.reason.startswith("FEDN_DATA_DIR is not set, and http://127.0.0.1:9/some.gz cannot be had: ")
    assert missing.value.reason.endswith(advice)
    with pytest.raises(DataMissing) as missing:
        read(away, tmp_path)
    assert missing.value.reason.startswith(f"{tmp_path}/some/some.gz is not there, and ")


def test_a_download_that_takes_too_long_is_given_up(file: DataFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DOWNLOAD_S", -1.0)
    with pytest.raises(DataMissing, match="took longer than"):
        read(file)


# ── the data sets ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "cifar10" / "data_batch_1.bin.gz").exists():
        pytest.skip(f"{folder} is not here")
    monkeypatch.setattr(datasets, "_download", lambda url: pytest.fail(f"{url} was asked for"))
    return folder


def test_mnist_is_read_from_its_four_files(real: Path) -> None:
    train, test = mnist("train", real), mnist("test", real)
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert 0.12 < test.images[0].mean() / 255 < 0.3 or test.images[0].max() == 255


def test_cifar10_is_read_from_its_excerpt(real: Path) -> None:
    train, test = cifar10("train", real), cifar10("test", real)
    assert train.images.shape == (10_000, 3, 32, 32)
    assert test.images.shape == (1_000, 3, 32, 32)
    assert len(np.bincount(train.labels)) == len(np.bincount(test.labels)) == 10
    assert train.labels[:4].tolist() == [6, 9, 9, 4]
    assert train.images[0, :, 0, 0].tolist() == [59, 62, 63]
    assert isinstance(train.images.base, np.ndarray)


def test_cifar10_is_cut_out_of_the_whole_download(real: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name, source, more in (
            ("batches.meta.txt", b"airplane\n", b""),
            ("data_batch_1.bin", gzip.decompress((real / "cifar10/data_batch_1.bin.gz").read_bytes()), b""),
            ("test_batch.bin", gzip.decompress((real / "cifar10/test_batch_1000.bin.gz").read_bytes()), bytes(9219)),
        ):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(source) + len(more)
            archive.addfile(entry, io.BytesIO(source + more))
    server.replies["/cifar.tar.gz"] = content.getvalue()
    for kind, (file, member) in datasets.CIFAR10.items():
        mine = DataFile(file.path, file.size, file.sha256, f"{server.url}cifar.tar.gz")
        monkeypatch.setitem(datasets.CIFAR10, kind, (mine, member))
    assert cifar10("test").labels[:4].tolist() == [3, 8, 8, 0]
    assert cifar10("train").labels[:4].tolist() == [6, 9, 9, 4]


@pytest.mark.parametrize("content", [b"<html>", gzip.compress(b"no archive" * 100)])
def test_a_download_that_is_no_archive_is_refused(server: Server, content: bytes) -> None:
    server.replies["/cifar.tar.gz"] = content
    with pytest.raises(DataMissing):
        datasets._excerpt(f"{server.url}cifar.tar.gz", "test_batch.bin", 10)


def test_an_archive_without_the_file_is_refused(server: Server) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz"):
        pass
    server.replies["/cifar.tar.gz"] = content.getvalue()
    with pytest.raises(DataMissing, match=r"holds no test_batch\.bin"):
        datasets._excerpt(f"{server.url}cifar.tar.gz", "test_batch.bin", 10)
    with fetching(f"{server.url}cifar.tar.gz") as reply:
        assert reply.read() == content.getvalue()
