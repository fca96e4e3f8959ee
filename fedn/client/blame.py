"""What a script died of, in the words of its own last traceback: for a person, and as an error's code."""

from __future__ import annotations

import errno
import re

from fedn.errors import (
    BadNumExamples,
    DiskFull,
    EntryPointFailed,
    FednError,
    ModelInvalid,
    NonFinite,
    OutputInvalid,
    SchemaMismatch,
    tree,
)

TRACEBACK = "Traceback (most recent call last):"
# An error that a helper raised says more than that the script failed. Others would be read as the network's own.
OF_HELPERS = (BadNumExamples, ModelInvalid, NonFinite, OutputInvalid, SchemaMismatch)
NAMED = {f"fedn.errors.{cls.__name__}": cls for cls in tree() if issubclass(cls, OF_HELPERS)}
EXCEPTION = re.compile(r"([\w.]+)(?:: (.*))?")
NO_ROOM = f"OSError: [Errno {errno.ENOSPC}]"  # not the script's fault: it may run again when there is room
MAX_CHARS = 300


def failed(shown: str, exit_code: int, stderr_tail: str) -> FednError:
    """The error for a script that ended with this exit code; its reason ends with what the script died of."""
    detail = {"stderr_tail": stderr_tail, "exit_code": exit_code}
    cause = cause_of(stderr_tail)
    exception = EXCEPTION.fullmatch(cause)
    if exception is not None and exception[1] in NAMED:
        return NAMED[exception[1]](f"`{shown}`: {exception[2] or exception[1]}", **detail)
    if cause.startswith(NO_ROOM):
        return DiskFull(f"`{shown}`: {cause}", **detail)
    reason = f"`{shown}` ended with exit code {exit_code}"
    return EntryPointFailed(f"{reason}: {cause}" if cause else reason, **detail)


def cause_of(stderr_tail: str) -> str:
    """The exception of the last traceback, else the last line that says something; empty when nothing does."""
    lines = [line.rstrip() for line in stderr_tail.splitlines()]
    if TRACEBACK in lines:
        after = lines[len(lines) - lines[::-1].index(TRACEBACK) :]
        said = [line for line in after if line and (not line.startswith(" "))]
        cause = said[0] if said else ""
        if cause.endswith(":") and len(said) > 1:  # "RuntimeError: Error(s) in loading state_dict for Net:"
            cause = f"{cause} {said[1].strip()}"
    else:
        cause = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return cause if len(cause) <= MAX_CHARS else cause[: MAX_CHARS - 1] + "…"
