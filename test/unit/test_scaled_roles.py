"""Combiners and reducers of which several share a folder, as scaled containers do."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from fedn.combiner.server import Combiner, reachable_name
from fedn.config import CombinerSettings, ReducerSettings
from fedn.errors import ConfigInvalid, Conflict
from fedn.reducer.server import serve, workplace
from test.unit.combiner_bench import table

STATE, BLOBS = "mongodb://mongo:27017/fedn", "s3://minio:9000/fedn?tls=false"


async def test_combiners_that_share_a_folder_are_the_same_again(tmp_path: Path) -> None:
    def of_one_base(**more: Any) -> CombinerSettings:
        return CombinerSettings(name_base="site-", dir=tmp_path, **more)

    async def life() -> list[tuple[str, str]]:
        combiners = [Combiner(of_one_base()) for _ in range(3)]
        for combiner in combiners:
            await combiner.start()
        said = [(combiner.name, combiner.identity) for combiner in combiners]
        for combiner in combiners:
            await combiner.stop()
        return said

    first = await life()
    assert [name for name, _ in first] == ["site-0", "site-1", "site-2"]
    assert len({identity for _, identity in first}) == 3
    assert await life() == first


def test_a_combiner_has_a_name_or_a_base() -> None:
    with pytest.raises(ConfigInvalid, match="exclude each other"):
        CombinerSettings(name="a", name_base="b")


@pytest.mark.parametrize(
    ("host", "dialled"), [("0.0.0.0", socket.gethostname()), ("::", socket.gethostname()), ("192.0.2.7", "192.0.2.7")]
)
def test_clients_dial_the_machine_of_a_combiner_that_listens_everywhere(host: str, dialled: str) -> None:
    assert reachable_name(host) == dialled


async def test_a_given_address_is_announced_as_it_is(tmp_path: Path) -> None:
    async with table(tmp_path, advertise="north.example:8091") as laid:
        address = laid.combiner.address
        laid.combiner._settings = CombinerSettings()  # so that the hands of the table are not led astray
        assert address == "north.example:8091"


def test_reducers_with_stores_elsewhere_share_a_folder(tmp_path: Path) -> None:
    settings = ReducerSettings(dir=tmp_path, state=STATE, blobs=BLOBS)
    assert [workplace(settings).name for _ in range(2)] == ["0", "1"]


@pytest.mark.parametrize(("state", "blobs"), [(None, None), (STATE, None), (None, BLOBS)])
def test_a_reducer_that_keeps_a_store_in_its_folder_has_it_alone(
    tmp_path: Path, state: str | None, blobs: str | None
) -> None:
    settings = ReducerSettings(dir=tmp_path, state=state, blobs=blobs)
    assert workplace(settings) == tmp_path
    with pytest.raises(Conflict, match="another process works"):
        workplace(settings)


@pytest.mark.parametrize(
    ("key", "variable"),
    [("mongo_password", "FEDN_MONGO_PASSWORD"), ("minio_secret_key", "FEDN_MINIO_SECRET_KEY")],
)
def test_a_reducer_that_others_reach_refuses_placeholders_for_its_stores(
    tmp_path: Path, key: str, variable: str
) -> None:
    tokens: dict[str, Any] = {"auth_token": os.urandom(16).hex(), "admin_token": os.urandom(16).hex()}
    stores = {
        name: os.urandom(16).hex() for name in ("mongo_user", "mongo_password", "minio_access_key", "minio_secret_key")
    }
    given = tokens | {"state": STATE, "blobs": BLOBS} | stores | {key: "change-me"}
    settings = ReducerSettings(host="0.0.0.0", dir=tmp_path / "none", **given)
    with pytest.raises(ConfigInvalid, match=f"{variable} is a placeholder") as refused:
        serve(settings, listening=lambda _: pytest.fail("it listens"))
    assert "change-me" not in str(refused.value)
    assert not (tmp_path / "none").exists()
