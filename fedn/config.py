"""Typed settings of the three roles: defaults, then a file, then the environment, then the command line.

An environment variable is ``FEDN_<ROLE>_<FIELD>`` in upper case, such as ``FEDN_REDUCER_PORT``; an empty one
counts as not set. Help, unit and limits stand beside each field: command line and docs come from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

from fedn.errors import ConfigInvalid
from fedn.yaml_file import in_words, nearest, read_yaml

MIB = 1024 * 1024
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
LOG_LEVELS = ("debug", "info", "warning", "error")
KEEPALIVE_S = 20.0
MIN_RATE_BYTES_S = 35_000.0  # 1 MiB takes just under 30 s
NAME = (r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits, '.', '_' and '-', at most 63")
NAME_BASE = (
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,52}",
    "the beginning of a name: letters, digits, '.', '_' and '-', at most 53",
)
URLS = (
    r"https?://[^\s/?#,]+/?(,\s*https?://[^\s/?#,]+/?)*",
    "an address such as http://127.0.0.1:8090, or several with commas between",
)
HOST_PORT = (r"[^\s/]+:\d{1,5}", "an address such as 192.0.2.7:8091")
STATE_URL = (r"mongodb://[^\s/?#@]+:\d{1,5}/[A-Za-z0-9_-]{1,38}", "mongodb://HOST:PORT/DATABASE, without credentials")
BLOBS_URL = (
    r"s3://[^\s/?#@]+:\d{1,5}/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\?tls=(true|false))?",
    "s3://HOST:PORT/BUCKET, perhaps with ?tls=false, without credentials",
)
# The client gives these to the scripts that it runs; a script's environment must not stop a client.
GIVEN_TO_SCRIPTS = frozenset({"FEDN_CLIENT_SETTINGS"})


def rules(help: str, **more: Any) -> dict[str, Any]:  # noqa: A002
    """A field's help and its `unit`, `min`, `max`, `choices`, `pattern` (regex, words), `shared` variable.

    What is `secret` is never an option of a command, which others could see, and is never shown.
    """
    return {"help": help, **more}


def secret(help: str, **more: Any) -> Any:  # noqa: A002
    """A field that is a secret, None unless it is set."""
    return field(default=None, repr=False, metadata=rules(help, secret=True, **more))


LOG_LEVEL = rules("How much to log.", choices=LOG_LEVELS)
MAX_MODEL = rules("Larger models are refused.", unit="bytes", min=1024)
MAX_PACKAGE = rules("Larger compute packages are refused.", unit="bytes", min=1024)
REDUCER = rules("Address of the reducer; of several, with commas between, the one that answers is asked.", pattern=URLS)
KEEPALIVE = rules(
    "Time between pings on a silent connection. It is dead when the other machine acknowledges nothing for half of it, "
    "at most 10 s, or nobody answers for one and a half of it, at most 30 s. NATs forget who is silent for 30 to 60 s.",
    unit="s",
    min=1,
    max=3600,
)
MIN_RATE = rules(
    "A transfer above this is never cut; one that is slower, or silent while 1 MiB would have come, is.",
    unit="bytes/s",
    min=100,
    max=1e9,
)
HOST = rules("Address to listen at; one that other machines can reach needs tokens.")
READY_FILE = rules("File that says whether this process is ready, for `fedn health`; else none.")
FOR_MEMBERS = "FEDN_ALLIANCE_AUTH_TOKEN"
FOR_ADMINS = "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"
IN_A_FILE = "read at each use, so that it can be changed while this runs; see docs/security.md."
AUTH_FILE = rules(f"In the place of auth_token: a file with it, {IN_A_FILE}", shared=f"{FOR_MEMBERS}_FILE")
ADMIN_FILE = rules(f"In the place of admin_token: a file with it, {IN_A_FILE}", shared=f"{FOR_ADMINS}_FILE")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the settings of all roles have in common."""

    role: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class ReducerSettings(Settings):
    """Settings of `fedn run reducer`."""

    role: ClassVar[str] = "reducer"
    host: str = field(default="127.0.0.1", metadata=HOST)
    port: int = field(default=8090, metadata=rules("Port to listen at; 0 takes a free one.", min=0, max=65535))
    dir: Path = field(
        default=Path(".fedn/reducer"),
        metadata=rules("Folder of the state and the models; several may share it if both stores are elsewhere."),
    )
    workers: int = field(default=2, metadata=rules("Processes that answer requests.", min=1, max=64))
    threads: int = field(default=8, metadata=rules("Threads in each worker.", min=1, max=512))
    lease_s: float = field(
        default=5.0, metadata=rules("A leader silent for this long is replaced.", unit="s", min=0.1, max=3600)
    )
    combiner_grace_s: float = field(
        default=30.0,
        metadata=rules(
            "A combiner silent for this long in a round is fenced, and its clients go on under others.",
            unit="s",
            min=0.1,
            max=86400,
        ),
    )
    max_model_bytes: int = field(default=8192 * MIB, metadata=MAX_MODEL)
    max_package_bytes: int = field(default=64 * MIB, metadata=MAX_PACKAGE)
    log_level: str = field(default="info", metadata=LOG_LEVEL)
    state: str | None = field(
        default=None,
        metadata=rules("State store, mongodb://HOST:PORT/DATABASE; else a file in the folder.", pattern=STATE_URL),
    )
    blobs: str | None = field(
        default=None,
        metadata=rules("Blob store, s3://HOST:PORT/BUCKET[?tls=false]; else the folder.", pattern=BLOBS_URL),
    )
    store_patience_s: float = field(
        default=300.0,
        metadata=rules("A running session waits for a store that is away for this long.", unit="s", min=0, max=86400),
    )
    min_rate_bytes_s: float = field(default=MIN_RATE_BYTES_S, metadata=MIN_RATE)
    keepalive_s: float = field(default=KEEPALIVE_S, metadata=KEEPALIVE)
    mongo_user: str | None = secret("User of the state store.", shared="FEDN_MONGO_USER")
    mongo_password: str | None = secret("Password of the state store.", shared="FEDN_MONGO_PASSWORD")
    minio_access_key: str | None = secret("Access key of the blob store.", shared="FEDN_MINIO_ACCESS_KEY")
    minio_secret_key: str | None = secret("Secret key of the blob store.", shared="FEDN_MINIO_SECRET_KEY")
    auth_token: str | None = secret("Network token: lets clients in.", shared=FOR_MEMBERS)
    admin_token: str | None = secret("Admin token: can do all.", shared=FOR_ADMINS)
    auth_token_file: Path | None = field(default=None, metadata=AUTH_FILE)
    admin_token_file: Path | None = field(default=None, metadata=ADMIN_FILE)

    def __post_init__(self) -> None:
        _one_place("auth_token", self.auth_token, self.auth_token_file)
        _one_place("admin_token", self.admin_token, self.admin_token_file)


@dataclass(frozen=True, kw_only=True)
class CombinerSettings(Settings):
    """Settings of `fedn run combiner`."""

    role: ClassVar[str] = "combiner"
    name: str | None = field(
        default=None, metadata=rules("Name of this combiner, unique in the network.", pattern=NAME)
    )
    name_base: str | None = field(
        default=None,
        metadata=rules(
            "In the place of a name: this and the number of the folder that it takes in --dir; many share one --dir.",
            pattern=NAME_BASE,
        ),
    )
    host: str = field(default="127.0.0.1", metadata=HOST)
    port: int = field(default=0, metadata=rules("Port to listen at; 0 takes a free one.", min=0, max=65535))
    advertise: str | None = field(
        default=None,
        metadata=rules(
            "Address that clients dial; else host:port, with this machine's name for 0.0.0.0 or ::.", pattern=HOST_PORT
        ),
    )
    reducer: str = field(default="http://127.0.0.1:8090", metadata=REDUCER)
    dir: Path | None = field(default=None, metadata=rules("Folder of the journal and of updates; else .fedn/<name>."))
    heartbeat_s: float = field(
        default=5.0,
        metadata=rules(
            "Time between signs of life of a client; of many clients longer, up to 60 s: at most 170 come in a second.",
            unit="s",
            min=0.05,
            max=3600,
        ),
    )
    reconnect_grace_s: float = field(
        default=10.0,
        metadata=rules("A lost client may come back within this time.", unit="s", min=0, max=3600),
    )
    drain_s: float = field(
        default=0.0,
        metadata=rules(
            "On SIGTERM, rounds that run here may end within this time; then they are handed back.",
            unit="s",
            min=0,
            max=3600,
        ),
    )
    orphan_s: float = field(
        default=20.0,
        metadata=rules(
            "Without the reducer for this long, clients are asked to look for another combiner.",
            unit="s",
            min=1,
            max=86400,
        ),
    )
    transfers_at_once: int = field(
        default=3, metadata=rules("Transfers that run at once; others wait in line.", min=1, max=1024)
    )
    window_bytes: int = field(
        default=2 * MIB,
        metadata=rules(
            "What a transfer may hold ahead of the disk; more is faster over long fast links, and takes memory.",
            unit="bytes",
            min=64 * 1024,
            max=64 * MIB,
        ),
    )
    min_rate_bytes_s: float = field(default=MIN_RATE_BYTES_S, metadata=MIN_RATE)
    keepalive_s: float = field(default=KEEPALIVE_S, metadata=KEEPALIVE)
    max_model_bytes: int = field(default=8192 * MIB, metadata=MAX_MODEL)
    threads: int | None = field(
        default=None, metadata=rules("Threads that fold models; else one per CPU.", min=1, max=1024)
    )
    kernel: str = field(
        default="compiled",
        metadata=rules(
            "What folds models: compiled code where this installation has it, or numpy; to the same bits.",
            choices=("compiled", "numpy"),
        ),
    )
    log_level: str = field(default="info", metadata=LOG_LEVEL)
    ready_file: Path | None = field(default=None, metadata=READY_FILE)
    auth_token: str | None = secret("Network token: lets clients in.", shared=FOR_MEMBERS)
    admin_token: str | None = secret("Admin token: can do all.", shared=FOR_ADMINS)
    auth_token_file: Path | None = field(default=None, metadata=AUTH_FILE)
    admin_token_file: Path | None = field(default=None, metadata=ADMIN_FILE)

    def __post_init__(self) -> None:
        _one_name(self.name, self.name_base)
        _one_place("auth_token", self.auth_token, self.auth_token_file)
        _one_place("admin_token", self.admin_token, self.admin_token_file)


@dataclass(frozen=True, kw_only=True)
class ClientSettings(Settings):
    """Settings of `fedn run client`."""

    role: ClassVar[str] = "client"
    name: str | None = field(default=None, metadata=rules("Name of this client, unique in the network.", pattern=NAME))
    name_base: str | None = field(
        default=None,
        metadata=rules(
            "In the place of a name: the reducer names the client this and its part number; many share one --dir.",
            pattern=NAME_BASE,
        ),
    )
    reducer: str = field(default="http://127.0.0.1:8090", metadata=REDUCER)
    combiner: str | None = field(default=None, metadata=rules("Name of the preferred combiner.", pattern=NAME))
    replicas: int = field(
        default=1,
        metadata=rules("Clients that this process hosts, each with its own name, stream and part.", min=1, max=10_000),
    )
    workers: int = field(default=1, metadata=rules("Tasks that run at once in this process.", min=1, max=1024))
    dir: Path | None = field(default=None, metadata=rules("Folder of identity, packages and work; else .fedn/<name>."))
    data_dir: Path | None = field(
        default=None, metadata=rules("Folder of the private data, given to scripts.", shared="FEDN_DATA_DIR")
    )
    parts: int | None = field(
        default=None,
        metadata=rules("In how many parts the data is split, given to scripts.", min=1, max=2**31),
    )
    training: Path | None = field(
        default=None,
        metadata=rules(
            "JSON file of the data owner's own settings for scripts, read at each task; they win over a session's."
        ),
    )
    env: bool = field(
        default=True,
        metadata=rules(
            "Make the virtual environment that a package asks for; else scripts run in the client's Python."
        ),
    )
    env_dir: Path | None = field(
        default=None,
        metadata=rules("Folder of the virtual environments, which clients may share; else ~/.cache/fedn/envs."),
    )
    env_timeout_s: float = field(
        default=1800.0,
        metadata=rules("A virtual environment that takes longer to make is given up.", unit="s", min=1, max=86400),
    )
    min_rate_bytes_s: float = field(default=MIN_RATE_BYTES_S, metadata=MIN_RATE)
    keepalive_s: float = field(default=KEEPALIVE_S, metadata=KEEPALIVE)
    max_model_bytes: int = field(default=8192 * MIB, metadata=MAX_MODEL)
    max_package_bytes: int = field(default=64 * MIB, metadata=MAX_PACKAGE)
    log_level: str = field(default="info", metadata=LOG_LEVEL)
    ready_file: Path | None = field(default=None, metadata=READY_FILE)
    auth_token: str | None = secret("Network token: lets this client in.", shared=FOR_MEMBERS)
    auth_token_file: Path | None = field(default=None, metadata=AUTH_FILE)

    def __post_init__(self) -> None:
        _one_name(self.name, self.name_base)
        _one_place("auth_token", self.auth_token, self.auth_token_file)


def _one_place(name: str, token: str | None, file: Path | None) -> None:
    if token is not None and file is not None:
        raise ConfigInvalid(f"{name} and {name}_file ({file}) exclude each other: give one")


def _one_name(name: str | None, name_base: str | None) -> None:
    if name is not None and name_base is not None:
        raise ConfigInvalid(f"name ({name}) and name_base ({name_base}) exclude each other: give one")


S = TypeVar("S", bound=Settings)


def variable(cls: type[Settings], name: str) -> str:
    """The environment variable of a field."""
    return f"FEDN_{cls.role}_{name}".upper()


def secrets(cls: type[Settings]) -> Iterator[str]:
    """The environment variables of a role's secrets."""
    for f in fields(cls):
        if f.metadata.get("secret"):
            yield variable(cls, f.name)
            if "shared" in f.metadata:
                yield str(f.metadata["shared"])


def without_secrets(environ: Mapping[str, str], *, of: type[Settings] | None = None) -> dict[str, str]:
    """The environment that others may be given: scripts, which need no secret, or the process `of` a role, its own.

    A deployment's .env may have been sourced; FEDN_ME_* in it is for mongo-express.
    """
    kept = set() if of is None else set(secrets(of))
    hidden = {name for cls in (ReducerSettings, CombinerSettings, ClientSettings) for name in secrets(cls)} - kept

    def is_secret(name: str) -> bool:
        other = name.startswith("FEDN_ME_") or (name.startswith("FEDN_") and "TOKEN" in name)
        return name in hidden or (other and name not in kept)

    return {name: value for name, value in environ.items() if not is_secret(name)}


def load(
    cls: type[S],
    *,
    file: Path | None = None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> S:
    """The settings of a role; an override of None counts as not given.

    Raises ConfigInvalid, naming file and line, or the variable, or the option.
    """
    found: dict[str, object] = {}
    for key, given in (
        *_from_file(cls, file),
        *_from_environment(cls, environ),
        *_from_overrides(cls, overrides),
    ):
        found[key] = given
    return cls(**found)  # each value was checked against its field's type


def _from_file(cls: type[Settings], file: Path | None) -> Iterator[tuple[str, object]]:
    if file is None:
        return
    known = {f.name: f for f in fields(cls)}
    for key, node in read_yaml(file).mapping("settings", known).items():
        if node.value is not None:
            yield key, _value(cls, known[key], node.value, node.wrong, key)


def _from_environment(cls: type[Settings], environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    names = {f.name: variable(cls, f.name) for f in fields(cls)}
    shared = {f.name: str(f.metadata["shared"]) for f in fields(cls) if "shared" in f.metadata}
    _refuse_unknown_variables(cls, environ, names.values())
    for f in fields(cls):
        for name in (names[f.name], shared.get(f.name, "")):
            if environ.get(name, "").strip():
                yield f.name, _value(cls, f, environ[name].strip(), ConfigInvalid, name, parse=True)
                break


def _refuse_unknown_variables(cls: type[Settings], environ: Mapping[str, str], known: Collection[str]) -> None:
    for name in sorted(environ):
        if name.startswith(f"FEDN_{cls.role.upper()}_") and name not in known and name not in GIVEN_TO_SCRIPTS:
            raise ConfigInvalid(f"unknown environment variable {name!r}{nearest(name, known)}")


def _from_overrides(cls: type[Settings], overrides: Mapping[str, object] | None) -> Iterator[tuple[str, object]]:
    known = {f.name: f for f in fields(cls)}
    for key, raw in (overrides or {}).items():
        if key not in known:
            raise ConfigInvalid(f"unknown setting {key!r}{nearest(key, known)}")
        if raw is not None:
            yield key, _value(cls, known[key], raw, ConfigInvalid, "--" + key.replace("_", "-"))


def _value(
    cls: type[Settings],
    f: Field[Any],
    raw: object,
    wrong: Callable[[str], ConfigInvalid],
    shown: str,
    *,
    parse: bool = False,
) -> object:
    """`raw` as the field's type and within its rules; `parse` reads numbers from text."""
    hint = get_type_hints(cls)[f.name]
    kind = next((t for t in get_args(hint) if t is not type(None)), hint)
    value = _converted(kind, raw, parse=parse)
    if value is None or not _within(f.metadata, value):
        found = "another value, which is secret" if f.metadata.get("secret") else in_words(_without_credentials(raw))
        raise wrong(f"{shown}: expected {_expected(kind, f.metadata)}, found {found}")
    return value


def _without_credentials(raw: object) -> object:
    """The value; of a text, what stands before the @ of an address is left out."""
    return re.sub(r"//.*@", "//…@", raw) if isinstance(raw, str) else raw


def _converted(kind: type, raw: object, *, parse: bool) -> object:
    """The value in its type, or None when it is none of that type."""
    if kind is Path:
        return Path(raw).expanduser() if isinstance(raw, str | Path) and str(raw).strip() else None
    if kind is str:
        return raw if isinstance(raw, str) and raw.strip() else None
    if kind is bool:
        word = BOOLEANS.get(raw.lower()) if parse and isinstance(raw, str) else raw
        return word if isinstance(word, bool) else None
    if parse and isinstance(raw, str):
        try:
            return kind(raw)
        except ValueError:
            return None
    if isinstance(raw, bool) or not isinstance(raw, int if kind is int else (int, float)):
        return None
    try:
        return kind(raw)
    except OverflowError:
        return None


def _within(limits: Mapping[str, Any], value: object) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(limits.get("min", -math.inf) <= value <= limits.get("max", math.inf))
    if "pattern" in limits:
        return re.fullmatch(limits["pattern"][0], str(value)) is not None
    return "choices" not in limits or value in limits["choices"]


def _expected(kind: type, limits: Mapping[str, Any]) -> str:
    if "choices" in limits:
        return "one of " + ", ".join(limits["choices"])
    if "pattern" in limits:
        return str(limits["pattern"][1])
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(kind, "a path")
    low, high = limits.get("min"), limits.get("max")
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    return words if low is None else f"{words} of at least {low}"
