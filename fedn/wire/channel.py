"""Channels and servers: the one place where connections are made, and where TLS will come."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from fedn.config import KEEPALIVE_S
from fedn.errors import PortTaken
from fedn.wire.bearer import BearerChannel, Token
from fedn.wire.dead_peers import keep_quiet
from fedn.wire.settings import MESSAGE_LIMIT, WINDOW_BYTES

_BOTH_ENDS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_CLIENT: tuple[tuple[str, Any], ...] = (
    # whether to try again is for the caller, who knows about rounds
    ("grpc.enable_retries", 0),
    # a channel is one peer's connection, also where many clients share a process
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC would wait up to two minutes before it dials a restarted server again
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_SERVER: tuple[tuple[str, Any], ...] = (
    # a peer's keepalive is its own: one that pings each second, the most that gRPC does, is not turned away
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    # calls of one connection at once: bounds what a client that never reads can pin in memory
    ("grpc.max_concurrent_streams", 64),
    # gRPC keeps a connection's read buffer, as large as what once came in one go, for as long as the connection lives
    # (grpc/grpc issue 42194): 1.6 MB for each client that has uploaded. Anything above 8 KiB becomes 64 KiB: large
    # rounds would take a tenth less of the processor, and every client that has uploaded 50 kB more
    ("grpc.experimental.tcp_max_read_buffer_size", 8 * 1024),
    # two servers on one port would each get some of the clients
    ("grpc.so_reuseport", 0),
)
ACKNOWLEDGED_S, ANSWERED_S = 10.0, 30.0  # at most
MOST_CONNECTIONS = 2**30
_M_ARENA_MAX = -8  # of malloc.h


def dial(
    address: str,
    *,
    token: Token | None = None,
    keepalive_s: float = KEEPALIVE_S,
    options: tuple[tuple[str, Any], ...] = (),
) -> grpc.aio.Channel:
    """A channel to ``host:port``; it connects on the first call, and again when the connection breaks.

    Every call shows the ``token``. ``options`` are gRPC channel arguments that go before ours.
    """
    _keep_freed_memory()
    ours = _BOTH_ENDS + _CLIENT + _keepalive(keepalive_s)
    channel = grpc.aio.insecure_channel(address, options=[*_without(ours, options), *options])
    return channel if token is None else BearerChannel(channel, token)


def new_server(
    *,
    window_bytes: int = WINDOW_BYTES,
    keepalive_s: float = KEEPALIVE_S,
    connections: int = MOST_CONNECTIONS,
    doors: Sequence[grpc.aio.ServerInterceptor] = (),
    options: tuple[tuple[str, Any], ...] = (),
) -> grpc.aio.Server:
    """A server with no services yet; every call passes the ``doors``, and ``options`` go before our gRPC arguments.

    It has at most so many ``connections`` at once: what comes in addition is closed at once, and may come again.

    At most ``window_bytes`` of a stream are on their way to us or wait to be read. gRPC's own estimate would take
    what waits for a slow disk for the length of the way, and hold ever more of it.
    """
    _keep_freed_memory()
    _share_one_heap()
    keep_quiet()
    window = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", window_bytes))
    most = (("grpc.max_allowed_incoming_connections", connections),)
    given = [*_without(_BOTH_ENDS + _SERVER + _keepalive(keepalive_s) + window + most, options), *options]
    return grpc.aio.server(interceptors=list(doors), options=given)


async def listen(server: grpc.aio.Server, host: str, port: int) -> int:
    """Start ``server`` at ``host:port`` (0: any free port) and return the port; PortTaken if it cannot."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _try_to_bind(host, port, address)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        raise PortTaken(f"{address} is in use or may not be bound") from None
    await server.start()
    return bound


def _try_to_bind(host: str, port: int, address: str) -> None:
    """Find out before gRPC does, which reports a failed bind with a page of text on stderr."""
    if not 0 <= port < 65_536:  # the resolver would take it modulo 65,536
        raise PortTaken(f"cannot listen at {address}: there is no such port")
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as error:
        raise PortTaken(f"cannot listen at {address}: {error.strerror or error}") from error


def _keepalive(every_s: float) -> tuple[tuple[str, Any], ...]:
    """Ping a silent connection; one that does not answer is dead, and all calls over it end."""
    return (
        ("grpc.keepalive_time_ms", round(every_s * 1000)),
        # for the other kernel to acknowledge what was sent: gRPC makes it the socket's own timeout
        ("grpc.keepalive_timeout_ms", round(min(every_s / 2, ACKNOWLEDGED_S) * 1000)),
        # for the answer to any ping, which gRPC awaits for a minute: over a narrow way it waits behind an upload
        ("grpc.http2.ping_timeout_ms", round(min(1.5 * every_s, ANSWERED_S) * 1000)),
    )


def _without(ours: tuple[tuple[str, Any], ...], theirs: tuple[tuple[str, Any], ...]) -> list[tuple[str, Any]]:
    names = {name for name, _ in theirs}
    return [option for option in ours if option[0] not in names]


def _keep_freed_memory() -> None:
    """Make transfers two to four times as fast: let the C allocator keep the memory of freed chunks.

    glibc hands freed blocks of a chunk's size back to the kernel, and every new chunk then pays for a
    page fault per 4 KiB. It raises its thresholds (for ever, and by at most twice that much memory)
    when it sees that a larger block is freed; this one's pages are never touched.
    """
    bytearray(MESSAGE_LIMIT)


def _share_one_heap() -> None:
    """Keep a server's memory at two thirds: without this each of gRPC's threads has a heap of its own (glibc).

    A chunk that passes through several threads would leave a heap of its peak size behind in each.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
