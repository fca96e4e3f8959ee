"""The two tokens of a network: the network token lets clients in, the admin token can do all.

A process without tokens serves this machine alone. Guessing is hopeless: a token has at least 16 characters, and
`fedn env init` writes 43 random ones.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re

from fedn.config import FOR_ADMINS, FOR_MEMBERS, ClientSettings, CombinerSettings, ReducerSettings
from fedn.errors import ConfigInvalid
from fedn.security.caller import Caller, Role
from fedn.security.placeholders import is_placeholder

_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


class Tokens:
    """The tokens of a network; what was compared takes the same time, right or wrong."""

    def __init__(self, *, network: str, admin: str) -> None:
        self._network = _digest(network)
        self._admin = _digest(admin)

    def caller(self, token: str) -> Caller | None:
        """Who has this token; None when nobody has."""
        given = _digest(token)
        admin, member = hmac.compare_digest(given, self._admin), hmac.compare_digest(given, self._network)
        if admin:
            return Caller(Role.ADMIN)
        return Caller(Role.MEMBER) if member else None

    def key(self, purpose: str) -> bytes:
        """A key that all who know both tokens can make, and that changes with either."""
        return hmac.digest(self._admin + self._network, purpose.encode(), "sha256")


def bearer(header: str) -> str | None:
    """The token of an `Authorization: Bearer TOKEN` header; None when it is no such header."""
    found = _BEARER.fullmatch(header)
    return found[1] if found else None


def tokens_of(settings: ReducerSettings | CombinerSettings) -> Tokens | None:
    """The tokens that a process asks its callers for; None: it listens at this machine only, and asks for none.

    Raises ConfigInvalid: one of two, two that are equal, a weak one, or none while others can reach the address.
    """
    network, admin = settings.auth_token, settings.admin_token
    if network is None and admin is None:
        if not is_loopback(settings.host):
            raise ConfigInvalid(
                f"listening at {settings.host}, which others can reach, needs tokens: "
                f"set {FOR_MEMBERS} and {FOR_ADMINS}; `fedn env init` writes them"
            )
        return None
    if network is None or admin is None:
        there, missing = (FOR_ADMINS, FOR_MEMBERS) if network is None else (FOR_MEMBERS, FOR_ADMINS)
        raise ConfigInvalid(f"{there} is set and {missing} is not; a network has both or none, see `fedn env init`")
    check(network, FOR_MEMBERS)
    check(admin, FOR_ADMINS)
    if hmac.compare_digest(_digest(network), _digest(admin)):
        raise ConfigInvalid(f"{FOR_MEMBERS} and {FOR_ADMINS} are equal: a client could do all that an admin can")
    return Tokens(network=network, admin=admin)


def own_token(settings: ClientSettings) -> str | None:
    """The token that a client shows. Raises ConfigInvalid for a weak one."""
    if settings.auth_token is not None:
        check(settings.auth_token, FOR_MEMBERS)
    return settings.auth_token


def check(token: str, variable: str) -> None:
    """Refuse a token that can be guessed or cannot be sent, without saying it. Raises ConfigInvalid."""
    if is_placeholder(token):
        raise ConfigInvalid(f"{variable} is a placeholder; `fedn env init` writes random tokens")
    if _TOKEN.fullmatch(token) is None:
        raise ConfigInvalid(
            f"{variable} must be 16 to 512 ASCII characters without spaces; `fedn env init` writes random tokens"
        )


def is_loopback(host: str) -> bool:
    """True when only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
