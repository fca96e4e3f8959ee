from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoundKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_KIND_UNSPECIFIED: _ClassVar[RoundKind]
    ROUND_KIND_TRAIN: _ClassVar[RoundKind]
    ROUND_KIND_VALIDATE: _ClassVar[RoundKind]
    ROUND_KIND_PREDICT: _ClassVar[RoundKind]
ROUND_KIND_UNSPECIFIED: RoundKind
ROUND_KIND_TRAIN: RoundKind
ROUND_KIND_VALIDATE: RoundKind
ROUND_KIND_PREDICT: RoundKind

class Participant(_message.Message):
    __slots__ = ("client_id", "part", "seed", "settings")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    part: int
    seed: int
    settings: str
    def __init__(self, client_id: _Optional[str] = ..., part: _Optional[int] = ..., seed: _Optional[int] = ..., settings: _Optional[str] = ...) -> None: ...

class StartRoundRequest(_message.Message):
    __slots__ = ("term", "round_id", "session_id", "round", "kind", "model", "model_size", "package", "package_size", "participants", "round_timeout_s", "session_seed", "settings", "epoch", "encodings", "combiner", "content")
    TERM_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    SESSION_SEED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    COMBINER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    term: int
    round_id: str
    session_id: str
    round: int
    kind: RoundKind
    model: str
    model_size: int
    package: str
    package_size: int
    participants: _containers.RepeatedCompositeFieldContainer[Participant]
    round_timeout_s: float
    session_seed: int
    settings: str
    epoch: int
    encodings: _containers.RepeatedScalarFieldContainer[str]
    combiner: str
    content: bytes
    def __init__(self, term: _Optional[int] = ..., round_id: _Optional[str] = ..., session_id: _Optional[str] = ..., round: _Optional[int] = ..., kind: _Optional[_Union[RoundKind, str]] = ..., model: _Optional[str] = ..., model_size: _Optional[int] = ..., package: _Optional[str] = ..., package_size: _Optional[int] = ..., participants: _Optional[_Iterable[_Union[Participant, _Mapping]]] = ..., round_timeout_s: _Optional[float] = ..., session_seed: _Optional[int] = ..., settings: _Optional[str] = ..., epoch: _Optional[int] = ..., encodings: _Optional[_Iterable[str]] = ..., combiner: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class StartRoundReply(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, missing: _Optional[_Iterable[str]] = ...) -> None: ...

class AwaitRoundRequest(_message.Message):
    __slots__ = ("term", "round_id")
    TERM_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    term: int
    round_id: str
    def __init__(self, term: _Optional[int] = ..., round_id: _Optional[str] = ...) -> None: ...

class RoundProgress(_message.Message):
    __slots__ = ("phase", "participants", "answered", "failed", "busy", "outcome")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    phase: str
    participants: int
    answered: int
    failed: int
    busy: _containers.RepeatedScalarFieldContainer[str]
    outcome: RoundOutcome
    def __init__(self, phase: _Optional[str] = ..., participants: _Optional[int] = ..., answered: _Optional[int] = ..., failed: _Optional[int] = ..., busy: _Optional[_Iterable[str]] = ..., outcome: _Optional[_Union[RoundOutcome, _Mapping]] = ...) -> None: ...

class RoundOutcome(_message.Message):
    __slots__ = ("sum", "sum_size", "weight", "clients", "refused", "code", "reason", "phase_s", "sum_content")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class PhaseSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SUM_FIELD_NUMBER: _ClassVar[int]
    SUM_SIZE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PHASE_S_FIELD_NUMBER: _ClassVar[int]
    SUM_CONTENT_FIELD_NUMBER: _ClassVar[int]
    sum: str
    sum_size: int
    weight: int
    clients: _containers.RepeatedCompositeFieldContainer[ClientOutcome]
    refused: _containers.ScalarMap[str, int]
    code: str
    reason: str
    phase_s: _containers.ScalarMap[str, float]
    sum_content: bytes
    def __init__(self, sum: _Optional[str] = ..., sum_size: _Optional[int] = ..., weight: _Optional[int] = ..., clients: _Optional[_Iterable[_Union[ClientOutcome, _Mapping]]] = ..., refused: _Optional[_Mapping[str, int]] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., phase_s: _Optional[_Mapping[str, float]] = ..., sum_content: _Optional[bytes] = ...) -> None: ...

class ClientOutcome(_message.Message):
    __slots__ = ("client_id", "status", "code", "reason", "stderr_tail", "update", "num_examples", "metrics", "seconds", "size")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STDERR_TAIL_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    status: str
    code: str
    reason: str
    stderr_tail: str
    update: str
    num_examples: int
    metrics: _containers.ScalarMap[str, float]
    seconds: float
    size: int
    def __init__(self, client_id: _Optional[str] = ..., status: _Optional[str] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., stderr_tail: _Optional[str] = ..., update: _Optional[str] = ..., num_examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., seconds: _Optional[float] = ..., size: _Optional[int] = ...) -> None: ...

class AbortRoundRequest(_message.Message):
    __slots__ = ("term", "round_id", "reason")
    TERM_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    term: int
    round_id: str
    reason: str
    def __init__(self, term: _Optional[int] = ..., round_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRoundReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EndRoundRequest(_message.Message):
    __slots__ = ("term", "round_id", "committed")
    TERM_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    term: int
    round_id: str
    committed: bool
    def __init__(self, term: _Optional[int] = ..., round_id: _Optional[str] = ..., committed: bool = ...) -> None: ...

class EndRoundReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("combiner", "clients", "rounds", "draining", "late")
    COMBINER_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    combiner: str
    clients: _containers.RepeatedCompositeFieldContainer[AttachedClient]
    rounds: _containers.RepeatedCompositeFieldContainer[RunningRound]
    draining: bool
    late: int
    def __init__(self, combiner: _Optional[str] = ..., clients: _Optional[_Iterable[_Union[AttachedClient, _Mapping]]] = ..., rounds: _Optional[_Iterable[_Union[RunningRound, _Mapping]]] = ..., draining: bool = ..., late: _Optional[int] = ...) -> None: ...

class RunningRound(_message.Message):
    __slots__ = ("round_id", "progress")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    round_id: str
    progress: RoundProgress
    def __init__(self, round_id: _Optional[str] = ..., progress: _Optional[_Union[RoundProgress, _Mapping]] = ...) -> None: ...

class AttachedClient(_message.Message):
    __slots__ = ("client_id", "name", "part", "task", "cpus", "memory_bytes", "version", "encodings")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    name: str
    part: int
    task: str
    cpus: int
    memory_bytes: int
    version: str
    encodings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, client_id: _Optional[str] = ..., name: _Optional[str] = ..., part: _Optional[int] = ..., task: _Optional[str] = ..., cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., version: _Optional[str] = ..., encodings: _Optional[_Iterable[str]] = ...) -> None: ...
