"""The messages of the transfer protocol that carry data, without the copies that protobuf makes of them.

On the wire they are what proto/fedn/v1/blobs.proto says, byte for byte: data is field 2 of an UploadRequest and of a
DownloadReply. Here a chunk is sent as the message that it is, and one that came is a view of its message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from fedn.wire.v1 import blobs_pb2 as pb
from fedn.wire.v1.blobs_pb2_grpc import BlobsServicer

SERVICE = "fedn.v1.Blobs"
_DATA = b"\x12"  # field 2, of a length that follows
_MORE = 0x80

M = TypeVar("M", bound=Message)


def data_message(data: bytes | memoryview) -> bytes:
    """A message that carries these bytes, at least one."""
    return b"".join((_DATA, _varint(len(data)), data))


def data_in(message: bytes) -> memoryview | None:
    """The bytes that a message carries; None when it is another, or written in a way of its own."""
    if message[:1] != _DATA:
        return None
    length = shift = 0
    for place, byte in enumerate(message[1:6], start=1):
        length |= (byte & ~_MORE) << shift
        shift += 7
        if not byte & _MORE:
            begin = place + 1
            return memoryview(message)[begin:] if length == len(message) - begin > 0 else None
    return None


def _varint(number: int) -> bytes:
    """Base 128, the least first (protobuf's encoding of a length)."""
    out = bytearray()
    while number >= _MORE:
        out.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _write(step: bytes | Message) -> bytes:
    return step if isinstance(step, bytes) else step.SerializeToString()


def _reader(kind: type[M]) -> Callable[[bytes], M | memoryview]:
    def read(message: bytes) -> M | memoryview:
        data = data_in(message)
        return kind.FromString(message) if data is None else data

    return read


class BlobsStub:
    """The asking end: steps are messages of blobs.proto, or `data_message`s; what comes is a message or data."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.Upload: Callable[[], grpc.aio.StreamStreamCall[Any, Any]] = channel.stream_stream(
            f"/{SERVICE}/Upload", request_serializer=_write, response_deserializer=pb.UploadReply.FromString
        )
        self.Download: Callable[[pb.DownloadRequest], grpc.aio.UnaryStreamCall[Any, Any]] = channel.unary_stream(
            f"/{SERVICE}/Download", request_serializer=_write, response_deserializer=_reader(pb.DownloadReply)
        )


def add_blobs(service: BlobsServicer, server: grpc.aio.Server) -> None:
    """Serve ``Blobs``; the service is given and gives what `BlobsStub` says."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Stat": grpc.unary_unary_rpc_method_handler(
            service.Stat, request_deserializer=pb.StatRequest.FromString, response_serializer=_write
        ),
        "Upload": grpc.stream_stream_rpc_method_handler(
            service.Upload, request_deserializer=_reader(pb.UploadRequest), response_serializer=_write
        ),
        "Download": grpc.unary_stream_rpc_method_handler(
            service.Download, request_deserializer=pb.DownloadRequest.FromString, response_serializer=_write
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
