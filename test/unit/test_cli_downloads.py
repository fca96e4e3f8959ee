"""Files that commands download: there when they are complete, and else not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from fedn.cli.reducer_api import ReducerApi, complete
from fedn.errors import FolderUnusable, ReducerUnreachable


@contextmanager
def breaks_off(sent: bytes) -> Iterator[str]:
    """A reducer that dies while it answers."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in connection.recv(65536):
                continue
            connection.sendall(sent)

    thread = Thread(target=answer)
    thread.start()
    with closing(listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_an_export_that_breaks_off_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "trail.tar"
    file.write_bytes(b"before")
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000)
    with breaks_off(half) as address, ReducerApi(address) as api, pytest.raises(ReducerUnreachable, match="not answer"):
        api.export_trail("all", file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_in_the_midst_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), complete(tmp_path / "file") as out:
        out.writelines([b"half", "text"])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FolderUnusable, match="away"), complete(tmp_path / "away" / "file"):
        raise AssertionError("never entered")
