"""Every method of every service of a real combiner, called with each token and with none."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fedn.client.agent import Agent
from fedn.client.pool import serve as serve_client
from fedn.combiner.door import WHO, allowed
from fedn.combiner.server import Combiner, serve
from fedn.config import ClientSettings
from fedn.errors import CombinerUnreachable, ConfigInvalid, FednError, PermissionDenied, Unauthenticated
from fedn.reducer.combiner_link import CombinerLink
from fedn.reducer.discovery import add_combiner
from fedn.reducer.network import Network
from fedn.reducer.views import combiner_view
from fedn.security.caller import ADMINS, Role
from fedn.storage.sqlite import SqliteState
from fedn.wire.calls import calling
from fedn.wire.channel import dial
from fedn.wire.rest import async_client
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import blobs_pb2, combiner_pb2, control_pb2, control_pb2_grpc
from test.unit.combiner_bench import Hand, settings
from test.unit.rest_stub import Reply, RestStub

NETWORK, ADMIN, WRONG = (secrets.token_urlsafe(32) for _ in range(3))
TOKENS = {"auth_token": NETWORK, "admin_token": ADMIN}
FILES = (combiner_pb2, blobs_pb2, control_pb2)
SERVICES = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
METHODS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]
UNKNOWN = ["/fedn.v1.Control/Nothing", "/fedn.v1.Nothing/Report", "/nothing", "/grpc.health.v1.Health/Check"]


@pytest.fixture
async def combiner(tmp_path: Path) -> AsyncIterator[Combiner]:
    running = Combiner(settings(tmp_path, **TOKENS))
    await running.start()
    yield running
    await running.stop()


async def ends(address: str, method: str, *metadata: tuple[str, str | bytes]) -> FednError | None:
    """How a call with one empty message ends: the error, or None when it is well or still open."""
    async with dial(address) as channel, asyncio.timeout(20):
        while True:
            call: Any = channel.stream_stream(method)(iter([b""]), metadata=metadata)  # type: ignore[arg-type]
            try:
                async with calling(call, unreachable=CombinerUnreachable):
                    await call.read()
            except CombinerUnreachable:
                continue  # grpc.aio has lost the answer over the message that could not be sent any more
            except FednError as error:
                return error
            return None


def shows(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def test_every_service_says_who_may_call_it() -> None:
    assert set(WHO) == {service.full_name for service in SERVICES}
    assert len(METHODS) == 10
    assert all(allowed(method) == ADMINS for method in UNKNOWN)


@pytest.mark.parametrize("method", [*METHODS, *UNKNOWN])
async def test_without_a_right_token_no_method_answers(combiner: Combiner, method: str) -> None:
    for metadata in (
        (),
        (shows(WRONG),),
        (shows(""),),
        (shows("x" * 4000),),
        (("authorization", ADMIN),),
        (("authorization", f"Basic {ADMIN}"),),
        (shows(ADMIN), shows(WRONG)),
        (shows(ADMIN), shows(ADMIN)),
        (("token", ADMIN),),
        (("authorization-bin", f"Bearer {ADMIN}".encode()),),
    ):
        error = await ends(combiner.address, method, *metadata)
        assert isinstance(error, Unauthenticated), (metadata, error)
        assert not any(token in error.reason for token in (ADMIN, NETWORK, WRONG))


@pytest.mark.parametrize("method", METHODS)
async def test_the_network_token_opens_what_clients_need_and_no_more(combiner: Combiner, method: str) -> None:
    error = await ends(combiner.address, method, shows(NETWORK))
    if Role.MEMBER in allowed(method):
        assert not isinstance(error, Unauthenticated | PermissionDenied)
    else:
        assert isinstance(error, PermissionDenied)


@pytest.mark.parametrize("method", METHODS)
async def test_the_admin_token_opens_all(combiner: Combiner, method: str) -> None:
    assert not isinstance(await ends(combiner.address, method, shows(ADMIN)), Unauthenticated | PermissionDenied)


async def test_a_refused_stream_does_not_wait_for_the_callers_first_message(combiner: Combiner) -> None:
    async with dial(combiner.address, token=WRONG) as channel, asyncio.timeout(10):
        call: Any = channel.stream_stream("/fedn.v1.Combiner/Attach")()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_attaches_and_moves_blobs_with_the_network_token(combiner: Combiner, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"model" * 1000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    async with dial(combiner.address, token=ADMIN) as admin, dial(combiner.address, token=NETWORK) as member:
        await upload(admin, path, digest=digest)
        await download(member, digest=digest, size=5000, destination=tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == path.read_bytes()
        assert (await Hand(member, "c0").attach()).combiner == "north"
        report = await control_pb2_grpc.ControlStub(admin).Report(control_pb2.ReportRequest())
        assert [client.client_id for client in report.clients] == ["c0"]
    async with dial(combiner.address, token=WRONG) as stranger:
        with pytest.raises(Unauthenticated):
            await upload(stranger, path, digest="5" * 64)
        with pytest.raises(Unauthenticated):
            await download(stranger, digest=digest, size=5000, destination=tmp_path / "stolen")
    assert not (tmp_path / "stolen").exists()


def test_a_combiner_that_others_can_reach_does_not_start_without_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="needs tokens"):
        Combiner(settings(tmp_path, host="0.0.0.0"))
    assert not (tmp_path / "combiner").exists()


async def test_the_reducer_shows_which_combiner_refuses_it_and_why(combiner: Combiner, tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    add_combiner(state, [], name="north", identity="id", address=combiner.address)
    seen = {}
    for token in (ADMIN, NETWORK, WRONG, None):
        network = Network(state, link=partial(CombinerLink, token=token))
        (seen[token],) = await network.survey()
        await network.close()
    state.close()
    assert seen[ADMIN].up
    assert combiner_view(seen[ADMIN])["reason"] == ""
    assert [seen[token].up for token in (NETWORK, WRONG, None)] == [False] * 3
    assert combiner_view(seen[NETWORK])["reason"].startswith(
        "it refuses the reducer: the combiner takes this call only"
    )
    assert combiner_view(seen[WRONG])["reason"] == "it refuses the reducer: the combiner does not know this token"
    assert "none came" in combiner_view(seen[None])["reason"]


@pytest.mark.parametrize("token", [None, WRONG])
async def test_a_client_that_the_combiner_refuses_ends(combiner: Combiner, tmp_path: Path, token: str | None) -> None:
    body = {"client_id": "c0", "name": "c0", "part": 0, "combiner": "north", "address": combiner.address, "spread_s": 0}
    async with RestStub(Reply(body=body)) as reducer:
        own = ClientSettings(reducer=reducer.address, dir=tmp_path / "client", auth_token=token)
        nothing: Any = None
        link: Any = _Unlinked()
        turns = asyncio.Semaphore(1)
        agent = Agent(own, tasks=nothing, link=link, identity="c0", presence=nothing, turns=turns)
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(15), async_client(reducer.address) as http:
                await agent.run(http)


class _Unlinked:
    def disconnect(self) -> None: ...


@pytest.mark.parametrize("error", [Unauthenticated("no"), PermissionDenied("no")])
async def test_roles_that_the_reducer_refuses_end(tmp_path: Path, error: FednError) -> None:
    async with RestStub(Reply.error(error)) as reducer, asyncio.timeout(20):
        with pytest.raises(type(error)):
            await serve(settings(tmp_path, reducer=reducer.address, **TOKENS))
        with pytest.raises(type(error)):
            await serve_client(ClientSettings(reducer=reducer.address, dir=tmp_path / "c", auth_token=NETWORK))
