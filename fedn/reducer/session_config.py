"""What a session is asked to do; parsed from a form, JSON or the command line, with errors that help."""

from __future__ import annotations

import difflib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fedn.config import NAME
from fedn.errors import ConfigInvalid
from fedn.model.narrow import FLOAT_TYPES
from fedn.wire.encodings import KNOWN, ZSTD

MOST_ROUNDS = 100_000
MOST_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class SessionConfig:
    """One training run. Times are in seconds; every wait of a session ends by one of them (I8)."""

    rounds: int = field(default=10, metadata={"help": "how many global steps", "min": 1, "max": MOST_ROUNDS})
    round_timeout: float = field(
        default=300.0,
        metadata={"help": "seconds after which a round closes", "min": 0.1, "max": MOST_SECONDS},
    )
    wait_timeout: float = field(
        default=300.0,
        metadata={"help": "seconds to wait for clients_required clients", "min": 0.0, "max": MOST_SECONDS},
    )
    clients_required: int = field(
        default=1, metadata={"help": "the quorum: with fewer updates a round has no model", "min": 1}
    )
    clients_requested: int | None = field(
        default=None, metadata={"help": "participants of a round; empty: all that are connected", "min": 1}
    )
    attempts: int = field(
        default=3,
        metadata={"help": "how often a round is tried before the session fails", "min": 1, "max": 100},
    )
    validate: bool = field(default=True, metadata={"help": "validate each new model on the clients"})
    seed: int = field(
        default_factory=lambda: secrets.randbelow(2**32),
        metadata={"help": "fixes sampling, splits and training; empty: random", "min": 0, "max": 2**32 - 1},
    )
    settings: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "client settings for the entry points, a JSON object", "max_bytes": 2**18},
    )
    client_settings: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "client settings for single clients, which win: a JSON object of client name to object",
            "max_bytes": 2**19,
        },
    )
    wire_dtype: str = field(
        default="float32",
        metadata={
            "help": "in which type float32 tensors travel between combiners and clients",
            "choices": ("float32", *FLOAT_TYPES),
        },
    )
    compression: str = field(
        default="none",
        metadata={"help": "how transfers between combiners and clients are compressed", "choices": ("none", ZSTD)},
    )

    def __post_init__(self) -> None:
        if self.clients_requested is not None and self.clients_requested < self.clients_required:
            raise ConfigInvalid(
                f"clients_requested is {self.clients_requested}, fewer than clients_required ({self.clients_required})"
            )
        for name, settings in self.client_settings.items():
            if not re.fullmatch(NAME[0], name):
                raise ConfigInvalid(f"client_settings: expected {NAME[1]}, found {name[:80]!r}")
            if not isinstance(settings, dict):
                raise ConfigInvalid(f"client_settings: {name}: expected a JSON object, found {str(settings)[:80]!r}")

    @property
    def encodings(self) -> tuple[str, ...]:
        """What a client must be able to, to take part (`fedn.wire.encodings`)."""
        return tuple(name for name in (self.wire_dtype, self.compression) if name in KNOWN)

    def as_json(self) -> dict[str, Any]:
        """The config as a JSON object."""
        return asdict(self)

    @staticmethod
    def parse(given: Mapping[str, Any]) -> SessionConfig:
        """The config from JSON values or form strings; empty strings mean the default. Raises ConfigInvalid."""
        known = {f.name: f for f in fields(SessionConfig)}
        values: dict[str, Any] = {}
        for key, raw in given.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
                raise ConfigInvalid(f"unknown key {key!r}{hint}")
            if raw is None or raw == "":
                continue
            values[key] = _within(key, _convert(key, str(known[key].type), raw), known[key].metadata)
        return SessionConfig(**values)


def _convert(key: str, kind: str, raw: Any) -> Any:
    readers: dict[str, Callable[[Any], Any]] = {
        "int": _integer,
        "float": _number,
        "bool": _truth,
        "dict": _object,
        "str": str,
    }
    try:
        return readers[kind.split("[")[0].split(" ")[0]](raw)
    except (TypeError, ValueError) as error:
        raise ConfigInvalid(f"{key}: {error}") from None


def _integer(raw: Any) -> int:
    if isinstance(raw, bool) or (isinstance(raw, float) and not raw.is_integer()):
        raise ValueError(f"expected a whole number, found {raw!r}")
    try:
        return int(raw)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a whole number, found {raw!r}") from None


def _number(raw: Any) -> float:
    if isinstance(raw, bool):
        raise ValueError(f"expected a number, found {raw!r}")
    try:
        return float(raw)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, found {raw!r}") from None


def _truth(raw: Any) -> bool:
    words = {
        "true": True,
        "on": True,
        "1": True,
        "yes": True,
        "false": False,
        "off": False,
        "0": False,
        "no": False,
    }
    word = str(raw).lower()
    if word not in words:
        raise ValueError(f"expected true or false, found {raw!r}")
    return words[word]


def _object(raw: Any) -> dict[str, Any]:
    value = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {raw!r}")
    return value


def _within(key: str, value: Any, limits: Mapping[str, Any]) -> Any:
    if "max_bytes" in limits and len(json.dumps(value)) > limits["max_bytes"]:
        raise ConfigInvalid(f"{key}: more than {limits['max_bytes']} bytes of JSON")
    if "choices" in limits and value not in limits["choices"]:
        raise ConfigInvalid(f"{key}: expected one of {', '.join(limits['choices'])}, found {value[:80]!r}")
    low, high = limits.get("min"), limits.get("max")
    outside = (low is not None and not value >= low) or (high is not None and not value <= high)
    if outside:
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigInvalid(f"{key}: {value} is not {bounds}")
    return value
