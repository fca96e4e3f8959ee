"""gRPC's own log, without the errors that are none.

When the other end dies as a call of it ends, gRPC cannot send the call's status, and logs that with a traceback as an
error of the server. Nothing is lost by it: whoever made the call is gone.
"""

from __future__ import annotations

import logging

import grpc.aio

GRPC_LOG = "grpc._cython.cygrpc"


def is_worth_saying(record: logging.LogRecord) -> bool:
    """False for what could not be sent to an end that is gone."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, grpc.aio.InternalError)


def keep_quiet() -> None:
    """Once is enough; again is fine."""
    logging.getLogger(GRPC_LOG).addFilter(is_worth_saying)
