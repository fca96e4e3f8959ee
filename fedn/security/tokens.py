"""The two tokens of a network: the network token lets clients in, the admin token can do all.

A process without tokens serves this machine alone. Guessing is hopeless: a token has at least 16 characters, and
`fedn env init` writes 43 random ones.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fedn.config import FOR_ADMINS, FOR_MEMBERS, ClientSettings, CombinerSettings, ReducerSettings
from fedn.errors import ConfigInvalid
from fedn.security.caller import Caller, Role
from fedn.security.placeholders import check_token
from fedn.security.token_file import TokenFile

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


Source = Callable[[], Sequence[str]]  # the tokens of now; the first is the one to show


class Tokens:
    """The tokens of a network; what was compared takes the same time, right or wrong."""

    def __init__(self, *, network: str | Source, admin: str | Source) -> None:
        self._network = _fixed(network) if isinstance(network, str) else network
        self._admin = _fixed(admin) if isinstance(admin, str) else admin

    def caller(self, token: str) -> Caller | None:
        """Who has this token; None when nobody has. One that stands in both files is a client's."""
        given = _digest(token)
        admin, member = _among(given, self._admin()), _among(given, self._network())
        if member:
            return Caller(Role.MEMBER)
        return Caller(Role.ADMIN) if admin else None

    def key(self, purpose: str) -> bytes:
        """A key that all who know both tokens can make, and that changes with either."""
        return hmac.digest(_digest(self._admin()[0]) + _digest(self._network()[0]), purpose.encode(), "sha256")


def bearer(header: str) -> str | None:
    """The token of an `Authorization: Bearer TOKEN` header; None when it is no such header."""
    found = _BEARER.fullmatch(header)
    return found[1] if found else None


def tokens_of(settings: ReducerSettings | CombinerSettings) -> Tokens | None:
    """The tokens that a process asks its callers for; None: it listens at this machine only, and asks for none.

    Raises ConfigInvalid: one of two, two that are equal, a weak one, or none while others can reach the address.
    """
    network = _source(settings.auth_token, settings.auth_token_file, FOR_MEMBERS)
    admin = _source(settings.admin_token, settings.admin_token_file, FOR_ADMINS)
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
    if any(_among(_digest(token), admin()) for token in network()):
        raise ConfigInvalid(f"{FOR_MEMBERS} and {FOR_ADMINS} are equal: a client could do all that an admin can")
    return Tokens(network=network, admin=admin)


def own_token(settings: ClientSettings) -> Callable[[], str] | None:
    """The token that a client shows, at each call the one of then. Raises ConfigInvalid for a weak one."""
    return _shown(_source(settings.auth_token, settings.auth_token_file, FOR_MEMBERS))


def admins_token(settings: ReducerSettings | CombinerSettings) -> Callable[[], str] | None:
    """The token that reducer and combiners show each other, at each call the one of then. Raises ConfigInvalid."""
    return _shown(_source(settings.admin_token, settings.admin_token_file, FOR_ADMINS))


def _source(token: str | None, file: Path | None, variable: str) -> Source | None:
    if file is not None:
        return TokenFile(file).tokens
    if token is None:
        return None
    check_token(token, variable)
    return _fixed(token)


def _shown(source: Source | None) -> Callable[[], str] | None:
    return None if source is None else lambda: source()[0]


def _fixed(token: str) -> Source:
    return lambda: (token,)


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


def _among(given: bytes, tokens: Sequence[str]) -> bool:
    same = [hmac.compare_digest(given, _digest(token)) for token in tokens]  # all of them, for the same time
    return any(same)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
