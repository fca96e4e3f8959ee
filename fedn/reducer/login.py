"""The browser's session: a signed cookie that says who logged in, for twelve hours.

It is signed with a key made of both tokens: every worker and replica agrees without a store, and a changed token ends
all sessions. Nothing is kept on this side, so logging out takes the cookie away from the browser, no more.
"""

from __future__ import annotations

import hashlib

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug import Response

from fedn.security.caller import Caller, Role
from fedn.security.tokens import Tokens

COOKIE = "fedn_login"
LASTS_S = 12 * 3600


class Login:
    """Makes and reads the cookie."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def _signer(self) -> URLSafeTimedSerializer:
        how = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        return URLSafeTimedSerializer(self._tokens.key("login cookie"), salt="fedn.login", signer_kwargs=how)

    def give(self, response: Response, caller: Caller, *, secure: bool) -> None:
        """Set the cookie: not for scripts, not from other sites, over https not without it."""
        value = self._signer().dumps(caller.role.value)
        signed = value if isinstance(value, str) else value.decode()
        response.set_cookie(COOKIE, signed, max_age=LASTS_S, httponly=True, samesite="Strict", secure=secure)

    def caller(self, cookie: str) -> Caller | None:
        """Who has this cookie; None when it is not ours, or too old."""
        try:
            return Caller(Role(self._signer().loads(cookie, max_age=LASTS_S)))
        except (BadData, ValueError, TypeError):
            return None


def take(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
