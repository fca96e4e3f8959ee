"""A TCP proxy before a server, which counts what passes, and can cut a connection in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BLOCK_BYTES = 2**18


class Passing:
    """One connection through the proxy: bytes to the server (`up`) and from it (`down`) so far."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.up = 0
        self.down = 0
        self._ends = (near, far)

    def cut(self) -> None:
        """End it, for both."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Both directions have ended."""
        for end in self._ends:
            end.close()


class Proxy:
    """Listens at `address`. `cuts` is asked after each block whether to end its connection."""

    def __init__(self, port: int) -> None:
        self.connections: list[Passing] = []
        self.cuts: Callable[[Passing], bool] = lambda _: False
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def passed(self) -> int:
        """Bytes of all connections, both ways."""
        return sum(each.up + each.down for each in self.connections)

    def close(self) -> None:
        """Listen no more, and end what passes."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self.connections:
            each.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._port))
        except OSError:  # the server is not there
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        passing = Passing(near, far)
        self.connections.append(passing)
        back = threading.Thread(target=self._copy, args=(passing, far, near, "down"), daemon=True)
        back.start()
        self._copy(passing, near, far, "up")
        back.join()
        passing.close()

    def _copy(self, passing: Passing, source: socket.socket, target: socket.socket, way: str) -> None:
        block = memoryview(bytearray(BLOCK_BYTES))
        with contextlib.suppress(OSError):
            while count := source.recv_into(block):
                target.sendall(block[:count])
                setattr(passing, way, getattr(passing, way) + count)
                if self.cuts(passing):
                    break
        passing.cut()


@contextmanager
def before(port: int) -> Iterator[Proxy]:
    """A proxy before the server at this port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
