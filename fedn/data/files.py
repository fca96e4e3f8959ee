"""The files of public data sets: found or downloaded once, checked, and kept unpacked to be mapped into memory.

A file is what its sha256 says, wherever it came from. It is unpacked once per user, into ~/.cache/fedn/data
(or below XDG_CACHE_HOME); from then on nothing is read but the pages that are used, and processes share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from fedn.errors import DataInvalid, DataMissing

Bytes: TypeAlias = npt.NDArray[np.uint8]
Download: TypeAlias = Callable[[], bytes]

SILENCE_S = 30.0  # a server that says nothing for so long is given up
DOWNLOAD_S = 1800.0  # and so is a download that takes longer than this
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: `size` and `sha256` are of its content, unpacked."""

    path: str  # below the folder of data, without .gz: mnist/train-images-idx3-ubyte
    size: int
    sha256: str
    url: str  # where it comes from, for who must fetch it by hand


def read(file: DataFile, folder: str | os.PathLike[str] | None, download: Download) -> Bytes:
    """The file's content, read-only: from the cache, from `folder` (else FEDN_DATA_DIR), or by `download`.

    Raises DataInvalid for a file that is not the data set's, DataMissing when there is none and it
    cannot be downloaded.
    """
    kept = _cache() / f"{file.path}.{file.sha256[:16]}"
    if (content := _mapped(kept, file.size)) is not None:
        return content
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _alone(kept.with_name(f"{kept.name}.lock")):
            if (content := _mapped(kept, file.size)) is None:  # nobody made it while we waited
                _keep(kept, _checked(file, folder, download))
                content = _mapped(kept, file.size)
    except OSError:  # a folder that cannot be written: every process unpacks for itself
        content = None
    return content if content is not None else np.frombuffer(_checked(file, folder, download), np.uint8)


@contextlib.contextmanager
def fetching(url: str) -> Iterator[IO[bytes]]:
    """The reply to a GET, read by who asked. Raises DataMissing when it cannot be had or takes too long."""
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as reply:  # noqa: S310 - our own constants: https
            yield cast(IO[bytes], _Bounded(reply))  # it is only read
    except (OSError, EOFError, http.client.HTTPException, zlib.error) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise DataMissing(f"{url} cannot be had: {error}") from error


class _Bounded:
    """A stream that ends with TimeoutError when it has been read for too long."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + DOWNLOAD_S

    def read(self, size: int = -1) -> bytes:
        """As of any stream; -1 reads to the end."""
        if size >= 0:
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"it took longer than {DOWNLOAD_S:.0f} s")
            return self._stream.read(size)
        return b"".join(iter(lambda: self.read(BLOCK_BYTES), b""))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fedn", "data")


def _mapped(path: Path, size: int) -> Bytes | None:
    try:
        content = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):  # it is not there, or empty
        return None
    return np.asarray(content) if content.size == size else None


def _keep(path: Path, content: bytes) -> None:
    """The file is there whole or not at all, even after a power cut."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as fresh:
            fresh.write(content)
            fresh.flush()
            os.fsync(fresh.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of a process that dies."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _checked(file: DataFile, folder: str | os.PathLike[str] | None, download: Download) -> bytes:
    place = folder if folder is not None else os.environ.get("FEDN_DATA_DIR")
    given = Path(place, f"{file.path}.gz") if place else None
    if given is not None and given.exists():
        content, name = _unpacked(given), str(given)
    else:
        content, name = _downloaded(file, given, download), file.url
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataInvalid(f"{name} is not {file.path}: its content has another sha256")
    return content


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{path} cannot be read: {error}") from error


def _downloaded(file: DataFile, given: Path | None, download: Download) -> bytes:
    try:
        return download()
    except DataMissing as error:
        where = f"{given} is not there" if given else "FEDN_DATA_DIR is not set"
        advice = f"put {file.path}.gz in the folder that FEDN_DATA_DIR names"
        raise DataMissing(f"{where}, and {error.reason}; {advice}") from error
