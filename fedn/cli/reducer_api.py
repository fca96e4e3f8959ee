"""The reducer's REST interface as the commands use it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedn.cli.token import given_token
from fedn.errors import DigestMismatch, FolderUnusable, TrailBroken
from fedn.reducer.trail import Verified, verify
from fedn.wire.rest import answer, client, raise_for_error, reachable

RECEIPT_LIMIT_BYTES = 64 * 2**20


class ReducerApi:
    """Blocking calls with the command's token; every failure is the error that the reducer named."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        with reachable(self.address):
            self._http = client(self.address, token=given_token(), timeout_s=30.0)

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

    def upload(self, path: str, file: Path) -> Any:
        """POST a file as the body; the JSON answer."""
        with reachable(self.address), file.open("rb") as content:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
            return answer(self._http.post(path, content=content, headers=headers, timeout=None))

    @contextmanager
    def _blocks(self, digest: str) -> Iterator[Iterator[bytes]]:
        with reachable(self.address), self._http.stream("GET", f"/api/v1/models/{digest}") as response:
            if not response.is_success:
                response.read()
                raise_for_error(response)
            yield response.iter_bytes(2**20)

    def pull(self, digest: str, destination: Path) -> int:
        """Download a blob and verify it; returns its size. Raises NotFound, DigestMismatch, FolderUnusable."""
        part = destination.with_name(destination.name + ".part")
        try:
            self._download(digest, part)
            part.replace(destination)
            return destination.stat().st_size
        except OSError as error:
            raise FolderUnusable(f"{destination} cannot be written: {error.strerror}") from None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _download(self, digest: str, path: Path) -> None:
        hashed = hashlib.sha256()
        with self._blocks(digest) as blocks, path.open("wb") as file:
            for block in blocks:
                hashed.update(block)
                file.write(block)
        if hashed.hexdigest() != digest:
            raise DigestMismatch(f"the bytes of {digest[:12]}… do not match it")

    def check_blob(self, digest: str) -> bytes | None:
        """Read a blob through and verify it; its bytes if it is small."""
        hashed, kept, total = hashlib.sha256(), [], 0
        with self._blocks(digest) as blocks:
            for block in blocks:
                hashed.update(block)
                total += len(block)
                if total <= RECEIPT_LIMIT_BYTES:
                    kept.append(block)
        if hashed.hexdigest() != digest:
            raise DigestMismatch("its bytes do not match it")
        return b"".join(kept) if total <= RECEIPT_LIMIT_BYTES else None

    def verify_trail(self) -> Verified:
        """Fetch the trail and every blob, and verify them here. Raises TrailBroken."""
        records = self.get("/api/v1/trail")["records"]
        if not records:
            raise TrailBroken("the trail is empty")
        return verify(records, self.check_blob)
