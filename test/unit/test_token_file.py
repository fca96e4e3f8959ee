"""Tokens that stand in files: they change while everything runs, and nobody is locked out or let in by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fedn.client.link import Link
from fedn.client.pool import work
from fedn.client.transfers import Transfers
from fedn.combiner.announce import announce
from fedn.combiner.server import Combiner
from fedn.config import ClientSettings, CombinerSettings, ReducerSettings, load
from fedn.errors import ConfigInvalid, Unauthenticated
from fedn.security.caller import Role
from fedn.security.token_file import TokenFile
from fedn.security.tokens import Tokens, admins_token, own_token, tokens_of
from fedn.storage.readiness import Readiness
from fedn.wire.rest import async_client
from fedn.wire.v1 import combiner_pb2 as pb
from test.unit.combiner_bench import settings, until
from test.unit.rest_stub import Reply, RestStub

OLD, NEW, ADMIN = (os.urandom(24).hex() for _ in range(3))


def file(folder: Path, name: str, *tokens: str) -> Path:
    """Write the tokens as an operator should: the file is there with all of them, or as it was."""
    fresh = folder / f"{name}.new"
    fresh.write_text("".join(f"{token}\n" for token in tokens))
    return fresh.replace(folder / name)


def test_each_use_reads_the_tokens_of_then(tmp_path: Path) -> None:
    tokens = TokenFile(file(tmp_path, "t", OLD))
    assert tokens.tokens() == (OLD,)
    file(tmp_path, "t", NEW, "", f"  {OLD} ")
    assert tokens.tokens() == (NEW, OLD)


@pytest.mark.parametrize("content", [None, "", "\n \n", "too-short", "change-me-change-me-now", f"{NEW} {NEW}"])
def test_a_file_of_no_use_leaves_the_tokens_as_they_were_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    path = file(tmp_path, "t", OLD)
    tokens = TokenFile(path)
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigInvalid, match=str(path)):
        TokenFile(path)
    assert [tokens.tokens() for _ in range(3)] == [(OLD,)] * 3
    assert len(caplog.records) == 1
    assert "the tokens that stood there before hold" in caplog.text
    file(tmp_path, "t", NEW)
    assert tokens.tokens()[0] == NEW
    assert not any(token in caplog.text for token in (OLD, NEW))


def test_a_former_token_lets_in_for_as_long_as_it_stands_in_the_file(tmp_path: Path) -> None:
    network, admin = file(tmp_path, "network", OLD), file(tmp_path, "admin", ADMIN)
    tokens = tokens_of(ReducerSettings(auth_token_file=network, admin_token_file=admin))
    assert tokens is not None

    def roles() -> list[Role | None]:
        callers = map(tokens.caller, (OLD, NEW, ADMIN))
        return [None if caller is None else caller.role for caller in callers]

    key = tokens.key("login")
    assert roles() == [Role.MEMBER, None, Role.ADMIN]
    file(tmp_path, "network", NEW, OLD)
    assert roles() == [Role.MEMBER, Role.MEMBER, Role.ADMIN]
    assert tokens.key("login") != key
    file(tmp_path, "network", NEW)
    assert roles() == [None, Role.MEMBER, Role.ADMIN]


def test_a_clients_token_never_becomes_an_admins(tmp_path: Path) -> None:
    network, admin = file(tmp_path, "network", OLD), file(tmp_path, "admin", ADMIN)
    with pytest.raises(ConfigInvalid, match="are equal"):
        tokens_of(ReducerSettings(auth_token_file=network, admin_token_file=file(tmp_path, "both", ADMIN, OLD)))
    tokens = Tokens(network=TokenFile(network).tokens, admin=TokenFile(admin).tokens)
    file(tmp_path, "admin", ADMIN, OLD)
    caller = tokens.caller(OLD)
    assert caller is not None
    assert caller.role is Role.MEMBER


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (ReducerSettings, ("auth_token", "admin_token")),
        (CombinerSettings, ("auth_token", "admin_token")),
        (ClientSettings, ("auth_token",)),
    ],
)
def test_a_token_stands_in_one_place(tmp_path: Path, cls: Any, names: tuple[str, ...]) -> None:
    for name in names:
        with pytest.raises(ConfigInvalid, match=f"{name} and {name}_file .* exclude each other"):
            cls(**{name: OLD, f"{name}_file": tmp_path / "t"})


def test_the_files_are_named_by_a_variable_that_all_roles_share(tmp_path: Path) -> None:
    environ = {
        "FEDN_ALLIANCE_AUTH_TOKEN_FILE": str(file(tmp_path, "network", OLD)),
        "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN_FILE": str(file(tmp_path, "admin", ADMIN)),
    }
    own, admins = (
        own_token(load(ClientSettings, environ=environ)),
        admins_token(load(CombinerSettings, environ=environ)),
    )
    assert own is not None
    assert admins is not None
    assert (own(), admins()) == (OLD, ADMIN)
    file(tmp_path, "network", NEW)
    assert own() == NEW


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[Combiner]:
    """A combiner whose tokens stand in files."""
    files = {"auth_token_file": file(folder, "network", OLD), "admin_token_file": file(folder, "admin", ADMIN)}
    combiner = Combiner(settings(folder, **files))
    await combiner.start()
    try:
        yield combiner
    finally:
        await combiner.stop()


async def test_a_client_that_is_refused_comes_back_when_its_file_has_the_new_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = file(tmp_path, "own", OLD)
    async with locked(tmp_path) as combiner:
        seat = {"combiner": "north", "address": combiner.address, "part": 0, "name": "c", "spread_s": 0}
        async with RestStub(Reply(200, seat)) as reducer:
            mine = ClientSettings(reducer=reducer.address, dir=tmp_path / "client", auth_token_file=own)
            running = asyncio.create_task(work(mine))
            await until(combiner.roster.attached)
            file(tmp_path, "network", NEW)
            (there,) = combiner.roster.attached()
            assert there.stream is not None
            there.stream.close()
            await until(lambda: "the combiner does not know this token" in caplog.text)
            assert not running.done()
            file(tmp_path, "own", NEW)
            await until(combiner.roster.attached)
            assert combiner.roster.attached()[0].client_id == there.client_id
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert not any(token in caplog.text for token in (OLD, NEW, ADMIN))


async def test_a_client_without_a_file_ends_as_it_should(tmp_path: Path) -> None:
    async with RestStub(Reply.error(Unauthenticated("no"))) as reducer, asyncio.timeout(15):
        with pytest.raises(Unauthenticated):
            await work(ClientSettings(reducer=reducer.address, dir=tmp_path / "client", auth_token=OLD))


async def test_a_combiner_that_is_refused_announces_itself_with_the_new_token(tmp_path: Path) -> None:
    tokens = TokenFile(file(tmp_path, "admin", OLD))
    said: dict[str, Any] = {"name": "north", "identity": "id", "address": "host:1"}
    said |= {"readiness": Readiness(None), "orphaned": lambda _: None, "orphan_s": 20.0}
    async with (
        RestStub(Reply.error(Unauthenticated("no")), Reply()) as reducer,
        async_client(reducer.address, token=lambda: tokens.tokens()[0]) as http,
    ):
        running = asyncio.create_task(announce(http, **said, renews=True))
        assert (await reducer.call()).token == f"Bearer {OLD}"
        file(tmp_path, "admin", NEW)
        assert (await reducer.call()).token == f"Bearer {NEW}"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("renews", "times"), [(True, 3), (False, 1)])
async def test_a_result_that_was_refused_for_its_token_is_handed_in_again(
    caplog: pytest.LogCaptureFixture, renews: bool, times: int
) -> None:
    tried = 0

    class Refusing(Link):
        async def channel(self) -> Any:
            nonlocal tried
            tried += 1
            raise Unauthenticated("the combiner does not know this token")

    transfers = Transfers(Refusing(), identity="c", min_rate_bytes_s=100_000.0, renews=renews)
    await transfers.submit(pb.TaskResult(task_id="t"), give_up=lambda: tried == 3)
    assert tried == times
    assert "the result of t was not taken: the combiner does not know this token" in caplog.text
