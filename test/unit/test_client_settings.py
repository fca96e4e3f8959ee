"""What an entry point finds in FEDN_CLIENT_SETTINGS, and who may say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.cli.client_settings import read_settings
from fedn.client.settings import MAX_BYTES, settings_for
from fedn.errors import BadInput, ConfigInvalid
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.client_bench import bench
from test.unit.combiner_bench import table
from test.unit.reducer_bench import learns, reducer, soon

SENT = pb.RunTask(settings='{"epochs": 1, "rate": 0.1, "net": {"depth": 2}}', client_settings='{"epochs": 2}')


def test_the_later_layer_wins_key_by_key(tmp_path: Path) -> None:
    assert json.loads(settings_for(SENT, None)) == {"epochs": 2, "rate": 0.1, "net": {"depth": 2}}
    own = tmp_path / "own.json"
    own.write_text('{"epochs": 3, "net": {"width": 8}}')
    assert json.loads(settings_for(SENT, own)) == {"epochs": 3, "rate": 0.1, "net": {"width": 8}}
    assert json.loads(settings_for(pb.RunTask(), None)) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "are not JSON"),
        (b"\xff\xfe", "are not JSON"),
        (b"[" * 100_000, "are not JSON"),
        (b"[1]", "are not a JSON object"),
        (b" " * MAX_BYTES + b"{}", f"have more than {MAX_BYTES} bytes"),
    ],
    ids=["absent", "cut short", "bytes", "deep", "list", "large"],
)
def test_a_broken_file_of_ones_own_is_named(content: bytes | None, said: str, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(ConfigInvalid) as caught:
        settings_for(SENT, own)
    assert said in caught.value.reason
    assert "own.json" in caught.value.reason
    assert str(tmp_path) not in caught.value.reason


async def test_the_data_owners_own_settings_are_read_at_each_task_and_a_broken_file_fails_it(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, {"w": np.zeros(4, np.float32)})
        own = tmp_path / "own.json"
        own.write_text("{")
        set_up.live(training=own)
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        (line,) = (await laid.outcome()).clients
        assert (line.status, line.code) == ("failed", "config_invalid")
        assert line.reason.startswith("this client's own settings for training, own.json, are not JSON")
        assert set_up.runs == []
        own.write_text('{"move": "exit"}')  # mended meanwhile, and it wins over the session's
        await laid.start("c0", round_id="r2", settings=set_up.settings())
        (line,) = (await laid.outcome("r2")).clients
        assert (line.status, line.code) == ("failed", "entry_point_failed")


async def test_each_client_gets_what_is_meant_for_it(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a", "b")) as laid:
        clients = [await laid.client("c0", "a", learns(1.0)), await laid.client("c1", "b", learns(1.0))]
        wanted: dict[str, Any] = {
            "settings": {"epochs": 1},
            "client_settings": {"c1": {"epochs": 5}, "later": {"epochs": 9}},
        }
        await soon(laid.round(laid.plan(*clients, **wanted)).run())
        tasks = {client.client_id: client.tasks[0] for client in clients}
        assert {name: json.loads(settings_for(task, None)) for name, task in tasks.items()} == {
            "c0": {"epochs": 1},
            "c1": {"epochs": 5},
        }


def test_options_of_the_sandbox_are_for_all_or_for_one() -> None:
    assert read_settings(["a=1", "x:a=2", "x:b={}", "b=text=more"]) == (
        {"a": 1, "b": "text=more"},
        {"x": {"a": 2, "b": {}}},
    )
    for wrong in ("a", "=1", ":a=1", "x:=1"):
        with pytest.raises(BadInput, match="NAME:KEY=VALUE"):
            read_settings([wrong])
