from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class StatReply(_message.Message):
    __slots__ = ("complete", "size")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    size: int
    def __init__(self, complete: bool = ..., size: _Optional[int] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("start", "data", "zstd")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    start: UploadStart
    data: bytes
    zstd: bytes
    def __init__(self, start: _Optional[_Union[UploadStart, _Mapping]] = ..., data: _Optional[bytes] = ..., zstd: _Optional[bytes] = ...) -> None: ...

class UploadStart(_message.Message):
    __slots__ = ("digest", "size", "round_id", "client_id")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size: int
    round_id: str
    client_id: str
    def __init__(self, digest: _Optional[str] = ..., size: _Optional[int] = ..., round_id: _Optional[str] = ..., client_id: _Optional[str] = ...) -> None: ...

class UploadReply(_message.Message):
    __slots__ = ("grant", "stored")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    grant: UploadGrant
    stored: UploadStored
    def __init__(self, grant: _Optional[_Union[UploadGrant, _Mapping]] = ..., stored: _Optional[_Union[UploadStored, _Mapping]] = ...) -> None: ...

class UploadGrant(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class UploadStored(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("digest", "offset", "zstd")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    zstd: bool
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ..., zstd: bool = ...) -> None: ...

class DownloadReply(_message.Message):
    __slots__ = ("grant", "data", "zstd")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    grant: DownloadGrant
    data: bytes
    zstd: bytes
    def __init__(self, grant: _Optional[_Union[DownloadGrant, _Mapping]] = ..., data: _Optional[bytes] = ..., zstd: _Optional[bytes] = ...) -> None: ...

class DownloadGrant(_message.Message):
    __slots__ = ("size", "offset")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    size: int
    offset: int
    def __init__(self, size: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...
