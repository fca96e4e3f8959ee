"""A REST port that answers as it was told, over a real socket; what was asked of it waits in a queue."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fedn.errors import FednError

WAIT_S = 15.0


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def error(error: FednError, **headers: str) -> Reply:
        return Reply(error.http, {"error": error.as_json()}, {k.replace("_", "-"): v for k, v in headers.items()})


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    json: Any
    token: str = ""  # as the header has it


class RestStub:
    """Gives the replies one after another, and the last one for ever."""

    def __init__(self, *replies: Reply, port: int = 0) -> None:
        self.replies = list(replies) or [Reply()]
        self.port = port
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def idle(self) -> bool:
        """True while no request waits in the queue."""
        return self._calls.empty()

    async def call(self) -> Call:
        """The next request."""
        return await asyncio.wait_for(self._calls.get(), WAIT_S)

    async def __aenter__(self) -> RestStub:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                length = int(headers.get("content-length", 0))
                sent = json.loads(await reader.readexactly(length)) if length else None
                url = urlsplit(target)
                self._calls.put_nowait(
                    Call(method, url.path, dict(parse_qsl(url.query)), sent, headers.get("authorization", ""))
                )
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                body = json.dumps(reply.body).encode()
                given = {"Content-Type": "application/json", "Content-Length": len(body)} | reply.headers
                lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in given.items())]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()
