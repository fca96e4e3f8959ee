"""Tokens in a file that an operator changes while the processes run.

One token in a line. The first is the one that is shown; a server lets in whoever shows any of them, so for as long as
a former token stands in the second line, both work. The file is read at each use: nothing has to be told of a change.
"""

from __future__ import annotations

import logging
from pathlib import Path

from fedn.errors import ConfigInvalid
from fedn.security.placeholders import check_token

log = logging.getLogger(__name__)

LIMIT_BYTES = 4096
MOST = 4


class TokenFile:
    """The tokens in a file. Raises ConfigInvalid when there is none of use at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trouble = ""
        self._content = self._read()
        self._tokens = self._parsed(self._content)

    def tokens(self) -> tuple[str, ...]:
        """Those of now; while the file is not there, or is being written, those of before."""
        try:
            content = self._read()
            if content != self._content:
                self._tokens, self._content = self._parsed(content), content
                log.info("%s has changed: its tokens are taken from now on", self._path)
            self._trouble = ""
        except ConfigInvalid as error:
            if error.reason != self._trouble:
                self._trouble = error.reason
                log.warning("%s; the tokens that stood there before hold", error)
        return self._tokens

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(LIMIT_BYTES)
        except OSError as error:
            raise ConfigInvalid(f"the token file {self._path} cannot be read: {error.strerror}") from None

    def _parsed(self, content: bytes) -> tuple[str, ...]:
        lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
        tokens = tuple(line for line in lines if line)
        if not 1 <= len(tokens) <= MOST:
            raise ConfigInvalid(f"the token file {self._path} has {len(tokens)} tokens, one a line; 1 to {MOST} may be")
        for token in tokens:
            check_token(token, f"the token file {self._path}: a token")
        return tokens
