"""A proxy on loopback that breaks connections after so many bytes, or spoils what goes up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

BLOCK = 64 * 1024


class CuttingProxy:
    """Passes bytes on to `address`; the first `cuts` connections that carry more than the limit are broken there.

    `on_cut` is called before each break. With `spoils` a byte of each full block that goes up is another. `carried_up`
    counts the bytes that went up on all of them.
    """

    def __init__(
        self,
        address: str,
        *,
        up: float = float("inf"),
        down: float = float("inf"),
        cuts: int = 1,
        on_cut: Callable[[], None] = lambda: None,
        spoils: bool = False,
    ) -> None:
        self.cuts = cuts
        self.carried_up = 0
        self._limits, self._on_cut, self._spoils = (up, down), on_cut, spoils
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                up, down = self._limits
                for line in ((near, far, up, True), (far, near, down, False)):
                    threading.Thread(target=self._pass, args=line, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, limit: float, is_up: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(BLOCK):
                passed += len(data)
                if passed > limit and self._cut():
                    break
                if is_up and self._spoils and len(data) > BLOCK // 2:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if is_up:
                    with self._lock:
                        self.carried_up += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _cut(self) -> bool:
        with self._lock:
            if not self.cuts:
                return False
            self.cuts -= 1
            self._on_cut()
            return True
