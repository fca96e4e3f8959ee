"""Which client of a process a line of its log is about."""

from __future__ import annotations

from contextvars import ContextVar

name: ContextVar[str | None] = ContextVar("name", default=None)
