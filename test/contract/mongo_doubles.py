"""Between a client and a server of the MongoDB wire protocol: a proxy that loses a message, a server that refuses."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import bson

HEADER = struct.Struct("<iiii")
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HELLO = {
    "ok": 1,
    "isWritablePrimary": True,
    "ismaster": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection in a thread of its own, at a port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def received(connection: socket.socket) -> bytes:
    """One whole message; empty at the end."""
    head = exactly(connection, HEADER.size)
    return head and head + exactly(connection, HEADER.unpack(head)[0] - HEADER.size)


def exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        block = connection.recv(count - len(got))
        if not block:
            return b""
        got += block
    return got


class Loser:
    """A proxy. The next message that has `word` in it is lost with its connection: the request, or only its answer."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.word: bytes | None = None
        self.only_answer = False
        self.meanwhile: Callable[[], object] = lambda: None
        self.lost = 0

    def lose(self, word: str, *, only_answer: bool, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.word, self.only_answer, self.meanwhile = word.encode(), only_answer, meanwhile

    def serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to_port)) as server:
            while request := received(client):
                lost = self.word is not None and self.word in request
                if lost:
                    self.word, self.lost = None, self.lost + 1
                if not lost or self.only_answer:
                    server.sendall(request)
                    answer = received(server)
                if lost:
                    self.meanwhile()
                    return
                client.sendall(answer)


@contextmanager
def loser(to_port: int) -> Iterator[tuple[Loser, int]]:
    """A running proxy and its port."""
    made = Loser(to_port)
    with serving(made.serve) as port:
        yield made, port


@contextmanager
def refusing(answers: Mapping[str, Mapping[str, Any]]) -> Iterator[int]:
    """A server that gives these answers to these commands, and greets whoever comes."""

    def serve(client: socket.socket) -> None:
        with suppress(OSError), client:
            while request := received(client):
                client.sendall(answer(request))

    def answer(request: bytes) -> bytes:
        _, number, _, operation = HEADER.unpack_from(request)
        if operation == OP_QUERY:
            body = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(HELLO)
            return HEADER.pack(HEADER.size + len(body), 0, number, OP_REPLY) + body
        size = struct.unpack_from("<i", request, HEADER.size + 5)[0]
        command = bson.decode(request[HEADER.size + 5 : HEADER.size + 5 + size])
        name = next(iter(command))
        said = HELLO if name in ("hello", "ismaster") else answers.get(name, {"ok": 1})
        body = struct.pack("<ib", 0, 0) + bson.encode(said)
        return HEADER.pack(HEADER.size + len(body), 0, number, OP_MSG) + body

    with serving(serve) as port:
        yield port
