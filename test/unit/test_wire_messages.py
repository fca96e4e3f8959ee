"""Messages that carry data are those of blobs.proto, byte for byte, at either end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedn.wire.messages import data_in, data_message
from fedn.wire.v1.blobs_pb2 import DownloadGrant, DownloadReply, UploadRequest, UploadStart

SIZES = [1, 2, 127, 128, 129, 16_383, 16_384, 2**20, 2**21, 2**22 + 5]


@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_is_written_as_protobuf_writes_it(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    message = data_message(data)
    assert message == UploadRequest(data=data).SerializeToString() == DownloadReply(data=data).SerializeToString()
    assert message == data_message(memoryview(data))
    found = data_in(message)
    assert found is not None
    assert bytes(found) == data


@given(st.binary(max_size=300))
def test_what_is_taken_for_data_is_data_to_protobuf(message: bytes) -> None:
    data = data_in(message)
    if data is not None:
        assert DownloadReply.FromString(message).data == bytes(data) != b""


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x12",
        b"\x12\x00",  # no data
        b"\x12\x05abc",  # less than it says
        b"\x12\x02abc",  # more than it says
        b"\x12\xff\xff\xff\xff\xff\xff",  # a length without an end
        UploadRequest(start=UploadStart(digest="d", size=1)).SerializeToString(),
        DownloadReply(grant=DownloadGrant(size=7, offset=3)).SerializeToString(),
        DownloadReply(data=b"ab").SerializeToString() + b"\x18\x01",  # and a field of a later version
    ],
)
def test_another_message_is_left_to_protobuf(message: bytes) -> None:
    assert data_in(message) is None
