from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedn.config import ReducerSettings
from fedn.errors import ConfigInvalid
from fedn.storage.files import FileBlobs
from fedn.storage.opening import check_places, open_blobs
from fedn.storage.s3 import S3Blobs
from fedn.storage.s3_client import part_bytes
from fedn.storage.urls import S3Place, s3_place

KEYS: dict[str, Any] = {"minio_access_key": "key-of-test", "minio_secret_key": "secret-of-test"}


@pytest.fixture
def settings(tmp_path: Path) -> ReducerSettings:
    return ReducerSettings(dir=tmp_path, blobs="s3://127.0.0.1:1/models?tls=false")


def test_the_address_says_which_blob_store(settings: ReducerSettings) -> None:
    assert isinstance(open_blobs(replace(settings, **KEYS)), S3Blobs)
    assert isinstance(open_blobs(replace(settings, blobs=None)), FileBlobs)


@pytest.mark.parametrize("missing", KEYS)
def test_a_missing_key_is_said_before_anything_is_started(settings: ReducerSettings, missing: str) -> None:
    lacking = replace(settings, **{name: key for name, key in KEYS.items() if name != missing})
    for look in (check_places, open_blobs):
        with pytest.raises(ConfigInvalid, match="needs both FEDN_MINIO_ACCESS_KEY and FEDN_MINIO_SECRET_KEY") as caught:
            look(lacking)
        assert "of-test" not in str(caught.value) + repr(lacking)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://minio:9000/models", S3Place("minio", 9000, "models", tls=True)),
        ("s3://[::1]:9000/models?tls=false", S3Place("::1", 9000, "models", tls=False)),
    ],
)
def test_an_address_names_host_port_and_bucket(url: str, place: S3Place) -> None:
    assert s3_place(url) == place


@pytest.mark.parametrize("bucket", ["192.168.0.1", "a..b", "a.-b", "a-.b"])
def test_a_name_that_no_bucket_can_have_is_refused(bucket: str) -> None:
    with pytest.raises(ConfigInvalid, match="no name of a bucket"):
        s3_place(f"s3://127.0.0.1:9000/{bucket}")


@pytest.mark.parametrize("size", [0, 16 * 2**20, 16 * 2**20 + 1, 10**9, 10**12])
def test_no_blob_has_more_parts_than_s3_allows(size: int) -> None:
    assert -(-size // part_bytes(size)) <= 10_000
