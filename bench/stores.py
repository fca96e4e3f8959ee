"""A model of 100 MB through each blob store: put and get, beside a plain copy and beside the `minio` client alone.

The S3 server is rclone over a folder, on loopback, one for all; each way has its turn in every repeat, so that all
see the same load of the machine. A get is a fetch into a file, verified; the client alone verifies nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minio import Minio

from bench.command import command
from bench.figure import Figure, of_samples
from fedn.storage.files import FileBlobs
from fedn.storage.s3 import S3Blobs
from fedn.storage.urls import S3Place

BLOB_BYTES = 100_000_000
REPEATS = 7
KEYS = ("bench", "bench-secret")
TARGET = 0.8  # of the client alone
BUCKET = "bench"


def run(*, blob_bytes: int = BLOB_BYTES, repeats: int = REPEATS) -> list[Figure]:
    """Medians in MB/s (10^6 bytes), and what our store reaches of the client alone."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        folder = Path(name)
        source, digest = _blob(folder / "blob", blob_bytes)
        with _rclone(folder / "s3") as port:
            ways = _ways(folder, source, digest, port)
            seconds: dict[str, list[float]] = {what: [] for what in ways}
            for _ in range(repeats + 1):
                for what, (clear, way) in ways.items():
                    clear()
                    began = time.perf_counter()
                    way()
                    seconds[what].append(time.perf_counter() - began)
        rates = {what: [blob_bytes / 1e6 / each for each in times[1:]] for what, times in seconds.items()}
    medians = {what: statistics.median(each) for what, each in rates.items()}
    return [
        *(of_samples(w, r, "MB/s", note=f"{min(r):.0f} to {max(r):.0f}") for w, r in rates.items()),
        *(
            Figure(f"{verb} through S3, of minio alone", medians[ours] / medians[alone], "×", TARGET, True)
            for verb, ours, alone in (("put", "put, S3", "fput_object"), ("get", "get, S3", "fget_object"))
        ),
    ]


def _ways(
    folder: Path, source: Path, digest: str, port: int
) -> dict[str, tuple[Callable[[], None], Callable[[], object]]]:
    """What is timed, and before it what clears its place: to free a large file takes a file system a while."""
    alone = Minio(f"127.0.0.1:{port}", *KEYS, secure=False, region="us-east-1")
    s3 = S3Blobs(S3Place("127.0.0.1", port, BUCKET, tls=False), access_key=KEYS[0], secret_key=KEYS[1])
    files, out = FileBlobs(folder / "files"), folder / "out"
    s3.check()

    def drop() -> None:
        out.unlink(missing_ok=True)

    return {
        "plain copy, synced": (drop, lambda: _copy(source, out)),
        "put, files": (lambda: files.delete(digest), lambda: files.put(source, digest)),
        "get, files": (drop, lambda: files.fetch(digest, out)),
        "fput_object": (
            lambda: alone.remove_object(BUCKET, "alone"),
            lambda: alone.fput_object(BUCKET, "alone", str(source)),
        ),
        "fget_object": (drop, lambda: alone.fget_object(BUCKET, "alone", str(out))),
        "put, S3": (lambda: s3.delete(digest), lambda: s3.put(source, digest)),
        "get, S3": (drop, lambda: s3.fetch(digest, out)),
    }


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _blob(path: Path, size: int) -> tuple[Path, str]:
    data = (hashlib.shake_128(b"blob").digest(1_000_000) * -(-size // 1_000_000))[:size]
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


@contextmanager
def _rclone(folder: Path) -> Iterator[int]:
    """A server over the folder; its port."""
    folder.mkdir()
    flags = ["--config", "", "--addr", "127.0.0.1:0", "--auth-key", ",".join(KEYS), str(folder)]
    program = Path(sys.executable).with_name("rclone")
    with subprocess.Popen([program, "serve", "s3", *flags], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(r"Starting s3 server on .*:(\d+)/", line):
                    yield int(found[1])
                    return
            raise AssertionError("rclone does not listen")
        finally:
            server.kill()


if __name__ == "__main__":
    command(run)()
