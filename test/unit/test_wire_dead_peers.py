from __future__ import annotations

import logging

import grpc.aio
import pytest

from fedn.wire.channel import new_server
from fedn.wire.dead_peers import GRPC_LOG


async def test_what_cannot_be_sent_to_an_end_that_is_gone_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    new_server()
    log = logging.getLogger(GRPC_LOG)
    for error in (grpc.aio.InternalError('Failed "execute_batch"'), ValueError("a mistake of ours")):
        try:
            raise error
        except (grpc.aio.InternalError, ValueError):
            log.exception("raised by servicer method")
    assert "a mistake of ours" in caplog.text
    assert "execute_batch" not in caplog.text
