"""Several reducers, of which one is enough."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from fedn.errors import ReducerUnreachable
from fedn.wire.failover import Addresses, AsyncFailover
from fedn.wire.rest import async_client, call, client
from test.unit.rest_stub import Reply, RestStub


def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_the_next_is_asked_when_one_is_not_there_and_is_remembered() -> None:
    gone = nobody()
    async with RestStub(Reply(200, {"here": 1})) as there, async_client(f"{gone}, {there.address}") as http:
        for _ in range(2):
            assert await call(http, "GET", "/assign", params={"client_id": "c"}) == {"here": 1}
            asked = await there.call()
            assert (asked.path, asked.query) == ("/assign", {"client_id": "c"})
        assert str(http.base_url).rstrip("/") == gone


async def test_when_none_is_there_it_says_so() -> None:
    async with async_client(f"{nobody()},{nobody()}") as http:
        with pytest.raises(ReducerUnreachable, match="does not answer"):
            await call(http, "GET", "/health")


async def test_what_breaks_off_in_the_middle_is_not_asked_twice_but_the_next_call_goes_elsewhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        rude_address = f"http://127.0.0.1:{rude.getsockname()[1]}"
        async with RestStub(Reply(200, {})) as there, async_client(f"{rude_address},{there.address}") as http:
            http.timeout = httpx.Timeout(0.2)
            with pytest.raises(ReducerUnreachable):
                await call(http, "POST", "/add", json={"name": "north"})
            assert there.idle
            assert await call(http, "POST", "/add", json={"name": "north"}) == {}
            assert (await there.call()).json == {"name": "north"}


async def test_the_command_line_may_be_given_several_too() -> None:
    async with RestStub(Reply(200, {"status": "ok"})) as there:

        def ask() -> object:
            with client(f"{nobody()},{there.address}") as http:
                return http.get("/health").json()

        assert await asyncio.to_thread(ask) == {"status": "ok"}


async def test_requests_that_fail_side_by_side_all_find_the_other_reducer() -> None:
    """I9: the second failure at the dead reducer must not turn back to it."""
    both, waiting = asyncio.Event(), 0

    class Inner(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal waiting
            if request.url.host == "gone":
                waiting += 1
                if waiting == 2:
                    both.set()
                await both.wait()
                raise httpx.ConnectError("refused")
            return httpx.Response(200)

    failover = AsyncFailover(Addresses(["http://gone:1", "http://there:1"]), httpx.Limits())
    await failover._transport.aclose()
    failover._transport = Inner()  # type: ignore[assignment]
    async with httpx.AsyncClient(base_url="http://gone:1", transport=failover) as http:
        found = await asyncio.gather(http.get("/"), http.get("/"), return_exceptions=True)
    assert [getattr(f, "status_code", f) for f in found] == [200, 200]
