"""The reducer's REST interface as the commands use it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx

from fedn.cli.token import given_token
from fedn.errors import DigestMismatch, FolderUnusable
from fedn.trail.file import Models
from fedn.trail.walk import RECEIPT_LIMIT_BYTES, Verified, read_through, verify
from fedn.wire.rest import answer, client, raise_for_error, reachable

ANSWER_S = 30.0
PREPARE_S = 600.0  # a reducer looks at every blob before it begins to export


class ReducerApi:
    """Blocking calls with the command's token; every failure is the error that the reducer named."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        with reachable(self.address):
            self._http = client(self.address, token=given_token(), timeout_s=ANSWER_S)

    def __enter__(self) -> ReducerApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; the JSON answer."""
        with reachable(self.address):
            return answer(self._http.get(path, params=query))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST a JSON object; the JSON answer."""
        with reachable(self.address):
            return answer(self._http.post(path, json=body or {}))

    def upload(self, path: str, file: Path, **query: Any) -> Any:
        """POST a file as the body; the JSON answer."""
        with reachable(self.address), file.open("rb") as content:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
            return answer(self._http.post(path, content=content, headers=headers, params=query, timeout=None))

    def _blocks(self, digest: str) -> AbstractContextManager[Iterator[bytes]]:
        return self._stream(f"/api/v1/models/{digest}")  # a receipt is a blob like a model

    @contextmanager
    def _stream(self, path: str) -> Iterator[Iterator[bytes]]:
        patience = httpx.Timeout(ANSWER_S, read=PREPARE_S)
        with reachable(self.address), self._http.stream("GET", path, timeout=patience) as response:
            if not response.is_success:
                response.read()
                raise_for_error(response)
            yield response.iter_bytes(2**20)

    def pull(self, digest: str, destination: Path) -> int:
        """Download a blob and verify it; returns its size. Raises NotFound, DigestMismatch, FolderUnusable."""
        with self._blocks(digest) as blocks, complete(destination) as file:
            hashed = hashlib.sha256()
            for block in blocks:
                hashed.update(block)
                file.write(block)
            if hashed.hexdigest() != digest:
                raise DigestMismatch(f"the bytes of {digest[:12]}… do not match it")
        return destination.stat().st_size

    def check_model(self, digest: str) -> bool:
        """Read a model through and verify it."""
        with self._blocks(digest) as blocks:
            read_through(digest, blocks)
        return True

    def check_receipt(self, digest: str) -> bytes:
        """A receipt, verified."""
        with self._blocks(digest) as blocks:
            return read_through(digest, blocks, limit=RECEIPT_LIMIT_BYTES)

    def verify_trail(self, *, known: str | None = None) -> Verified:
        """Fetch the trail and every blob, and verify them here. Raises TrailBroken."""
        sessions = self.get("/api/v1/sessions")["sessions"]  # before the records: what has finished by then is there
        finished = {s["id"]: s["config"]["rounds"] for s in sessions if s["status"] == "finished"}
        return verify(self.get("/api/v1/trail")["records"], self, finished=finished, known=known)

    def export_trail(self, models: Models, destination: Path) -> int:
        """Download the trail as one file, which appears when it is complete; returns its size."""
        return self.save(f"/api/v1/trail/export?models={models}", destination)

    def save(self, path: str, destination: Path) -> int:
        """GET into a file, which appears when it is complete; returns its size."""
        with self._stream(path) as blocks, complete(destination) as file:
            for block in blocks:
                file.write(block)
        return destination.stat().st_size


@contextmanager
def complete(destination: Path) -> Iterator[IO[bytes]]:
    """A file to write that has another name until it is complete, and is gone if it never is. Raises FolderUnusable."""
    part = destination.with_name(f"{destination.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(destination)
    except OSError as error:
        raise FolderUnusable(f"{destination} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
