from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_KIND_UNSPECIFIED: _ClassVar[TaskKind]
    TASK_KIND_TRAIN: _ClassVar[TaskKind]
    TASK_KIND_VALIDATE: _ClassVar[TaskKind]
    TASK_KIND_PREDICT: _ClassVar[TaskKind]
TASK_KIND_UNSPECIFIED: TaskKind
TASK_KIND_TRAIN: TaskKind
TASK_KIND_VALIDATE: TaskKind
TASK_KIND_PREDICT: TaskKind

class ClientEvent(_message.Message):
    __slots__ = ("hello", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("client_id", "name", "part", "profile", "encodings")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    name: str
    part: int
    profile: Profile
    encodings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, client_id: _Optional[str] = ..., name: _Optional[str] = ..., part: _Optional[int] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., encodings: _Optional[_Iterable[str]] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("cpus", "memory_bytes", "version")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cpus: int
    memory_bytes: int
    version: str
    def __init__(self, cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CombinerCommand(_message.Message):
    __slots__ = ("welcome", "run", "cancel", "ended", "drain", "reconsider")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    RECONSIDER_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    run: RunTask
    cancel: CancelTask
    ended: RoundEnded
    drain: Drain
    reconsider: Reconsider
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., run: _Optional[_Union[RunTask, _Mapping]] = ..., cancel: _Optional[_Union[CancelTask, _Mapping]] = ..., ended: _Optional[_Union[RoundEnded, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., reconsider: _Optional[_Union[Reconsider, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("combiner", "heartbeat_s")
    COMBINER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    combiner: str
    heartbeat_s: float
    def __init__(self, combiner: _Optional[str] = ..., heartbeat_s: _Optional[float] = ...) -> None: ...

class RunTask(_message.Message):
    __slots__ = ("task_id", "round_id", "kind", "model", "model_size", "package", "package_size", "seed", "session_seed", "round", "session_id", "time_limit_s", "settings", "client_settings", "encodings", "wire_model", "wire_model_size", "content", "native")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SESSION_SEED_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    WIRE_MODEL_FIELD_NUMBER: _ClassVar[int]
    WIRE_MODEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    round_id: str
    kind: TaskKind
    model: str
    model_size: int
    package: str
    package_size: int
    seed: int
    session_seed: int
    round: int
    session_id: str
    time_limit_s: float
    settings: str
    client_settings: str
    encodings: _containers.RepeatedScalarFieldContainer[str]
    wire_model: str
    wire_model_size: int
    content: bytes
    native: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task_id: _Optional[str] = ..., round_id: _Optional[str] = ..., kind: _Optional[_Union[TaskKind, str]] = ..., model: _Optional[str] = ..., model_size: _Optional[int] = ..., package: _Optional[str] = ..., package_size: _Optional[int] = ..., seed: _Optional[int] = ..., session_seed: _Optional[int] = ..., round: _Optional[int] = ..., session_id: _Optional[str] = ..., time_limit_s: _Optional[float] = ..., settings: _Optional[str] = ..., client_settings: _Optional[str] = ..., encodings: _Optional[_Iterable[str]] = ..., wire_model: _Optional[str] = ..., wire_model_size: _Optional[int] = ..., content: _Optional[bytes] = ..., native: _Optional[_Iterable[str]] = ...) -> None: ...

class CancelTask(_message.Message):
    __slots__ = ("task_id", "reason")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    reason: str
    def __init__(self, task_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RoundEnded(_message.Message):
    __slots__ = ("round_id", "committed")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    round_id: str
    committed: bool
    def __init__(self, round_id: _Optional[str] = ..., committed: bool = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Reconsider(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("client_id", "task_id", "round_id", "seconds", "update", "validation", "failure", "prediction", "content")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    task_id: str
    round_id: str
    seconds: float
    update: Update
    validation: Validation
    failure: Failure
    prediction: Prediction
    content: bytes
    def __init__(self, client_id: _Optional[str] = ..., task_id: _Optional[str] = ..., round_id: _Optional[str] = ..., seconds: _Optional[float] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., validation: _Optional[_Union[Validation, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., content: _Optional[bytes] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("model", "base_model", "num_examples", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    model: str
    base_model: str
    num_examples: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, model: _Optional[str] = ..., base_model: _Optional[str] = ..., num_examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Validation(_message.Message):
    __slots__ = ("base_model", "num_examples", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    base_model: str
    num_examples: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, base_model: _Optional[str] = ..., num_examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("predictions", "base_model")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    predictions: str
    base_model: str
    def __init__(self, predictions: _Optional[str] = ..., base_model: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "reason", "stderr_tail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STDERR_TAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    stderr_tail: str
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ..., stderr_tail: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("accepted", "code", "reason")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    code: str
    reason: str
    def __init__(self, accepted: bool = ..., code: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
