"""The stores that the reducer's settings name: by address, or embedded in its folder. Opening connects to nothing."""

from __future__ import annotations

from fedn.config import ReducerSettings
from fedn.errors import ConfigInvalid
from fedn.storage.blobs import Blobs
from fedn.storage.files import FileBlobs
from fedn.storage.folder import prepare
from fedn.storage.sqlite import SqliteState
from fedn.storage.state import State
from fedn.storage.urls import mongo_place, s3_place


def check_places(settings: ReducerSettings) -> None:
    """Refuse wrong addresses and missing keys, before anything is started. Raises ConfigInvalid."""
    if settings.state is not None:
        mongo_place(settings.state)
    if settings.blobs is not None:
        s3_place(settings.blobs)
        _s3_keys(settings)


def open_state(settings: ReducerSettings) -> State:
    """The state store. Raises ConfigInvalid, FolderUnusable."""
    if settings.state is None:
        return SqliteState(prepare(settings.dir) / "state.db")
    from fedn.storage.mongo import MongoState

    return MongoState(mongo_place(settings.state), user=settings.mongo_user, password=settings.mongo_password)


def open_blobs(settings: ReducerSettings) -> Blobs:
    """The blob store. Raises ConfigInvalid, FolderUnusable."""
    if settings.blobs is None:
        return FileBlobs(prepare(settings.dir) / "blobs")
    from fedn.storage.s3 import S3Blobs

    access_key, secret_key = _s3_keys(settings)
    return S3Blobs(s3_place(settings.blobs), access_key=access_key, secret_key=secret_key)


def _s3_keys(settings: ReducerSettings) -> tuple[str, str]:
    if settings.minio_access_key is None or settings.minio_secret_key is None:
        raise ConfigInvalid("blobs: S3 needs both FEDN_MINIO_ACCESS_KEY and FEDN_MINIO_SECRET_KEY")
    return settings.minio_access_key, settings.minio_secret_key
