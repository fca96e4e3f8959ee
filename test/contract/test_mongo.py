"""The state store over a real connection: to nx-27017, or to the server that FEDN_TEST_MONGO_URL names."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from fedn.storage.urls import mongo_place
from test.contract.state_suite import StateSuite
from test.stores import Nx27017, fresh_name, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """mongodb://HOST:PORT. A real one may ask for the user and password of FEDN_MONGO_USER and FEDN_MONGO_PASSWORD."""
    given = os.environ.get("FEDN_TEST_MONGO_URL", "").rstrip("/")
    if given:
        yield given
        return
    with running(Nx27017(tmp_path_factory.mktemp("nx-27017"))) as server:
        yield f"mongodb://127.0.0.1:{server.port}"


class TestMongo(StateSuite):
    @pytest.fixture
    def opening(self, server: str) -> Iterator[str]:
        url, user, password = (
            f"{server}/{fresh_name()}",
            os.environ.get("FEDN_MONGO_USER"),
            os.environ.get("FEDN_MONGO_PASSWORD"),
        )
        yield (
            "import os\n"
            "from fedn.storage.mongo import MongoState\n"
            "from fedn.storage.urls import mongo_place\n"
            "user, password = (os.environ.get(f'FEDN_MONGO_{n}') for n in ('USER', 'PASSWORD'))\n"
            f"state = MongoState(mongo_place({url!r}), user=user, password=password)\n"
        )
        place = mongo_place(url)
        client: MongoClient[dict[str, object]] = MongoClient(place.host, place.port, username=user, password=password)
        client.drop_database(place.database)
        client.close()
