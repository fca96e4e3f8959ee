"""Bytes that are not those that were announced: the client says so, and the combiner passes it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from test.unit.client_bench import bench
from test.unit.combiner_bench import table


@pytest.mark.parametrize("what", ["package", "model"])
async def test_a_digest_that_does_not_match_is_named(what: str, tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
        blob = laid.combiner.shelf.find(getattr(laid, what))
        assert blob is not None
        content = blob.read_bytes()
        blob.chmod(0o600)
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        [client] = (await laid.outcome()).clients
        assert (client.client_id, client.status, client.code) == ("c0", "failed", "digest_mismatch")
        assert getattr(laid, what)[:12] in client.reason
        assert not set_up.runs
