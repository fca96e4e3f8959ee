"""Secrets that are of no use: forgotten to choose (known words of examples, too few different characters), or weak."""

from __future__ import annotations

import re

from fedn.config import ReducerSettings
from fedn.errors import ConfigInvalid

# long enough that a random token does not hold one by accident
_WORDS = re.compile(
    r"change_?me|replace_?me|place_?holder|password|passw0rd|default|example|secret|insert|your_?token|0123456789"
)
_VARIETY = 6
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")


def is_placeholder(secret: str) -> bool:
    """True for a value such as `change-me`, `<your token>` or `aaaaaaaaaaaaaaaa`."""
    plain = re.sub(r"[\W_]+", "_", secret.lower())
    return _WORDS.search(plain) is not None or len(set(secret)) < _VARIETY


def check_store_secrets(settings: ReducerSettings) -> None:
    """Refuse passwords of the stores that nobody chose, without saying them. Raises ConfigInvalid."""
    given = {"FEDN_MONGO_PASSWORD": settings.mongo_password, "FEDN_MINIO_SECRET_KEY": settings.minio_secret_key}
    for variable, secret in given.items():
        if secret is not None and is_placeholder(secret):
            raise ConfigInvalid(f"{variable} is a placeholder; `fedn env init` writes random secrets")


def check_token(token: str, variable: str) -> None:
    """Refuse a token that can be guessed or cannot be sent, without saying it. Raises ConfigInvalid."""
    if is_placeholder(token):
        raise ConfigInvalid(f"{variable} is a placeholder; `fedn env init` writes random tokens")
    if _TOKEN.fullmatch(token) is None:
        raise ConfigInvalid(
            f"{variable} must be 16 to 512 ASCII characters without spaces; `fedn env init` writes random tokens"
        )
