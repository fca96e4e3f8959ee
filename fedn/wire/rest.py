"""Calls to the reducer's REST interface; every failure comes back as the error that the reducer named."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from fedn.errors import FednError, NotFound, ReducerUnreachable, from_code
from fedn.wire.bearer import Token, authorization
from fedn.wire.failover import Addresses, AsyncFailover, Failover

TIMEOUT_S = 10.0
IDLE_S = 1.0  # gunicorn closes an idle connection after 2 s, and a request that meets its end gets no answer
JSON = {"Accept": "application/json"}


def client(address: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """A blocking client of the reducer at `address`, for the command line; of several, A,B, of the one that answers."""
    first, more = spread(address)
    transport = Failover(Addresses(more)) if len(more) > 1 else None
    return httpx.Client(base_url=first, transport=transport, timeout=timeout_s, headers=headers(token))


def async_client(address: str, *, token: Token | None = None, timeout_s: float = TIMEOUT_S) -> httpx.AsyncClient:
    """A client of the reducer at `address` for the roles' event loops; of several, A,B, of the one that answers."""
    first, more = spread(address)
    limits = httpx.Limits(keepalive_expiry=IDLE_S)
    transport = AsyncFailover(Addresses(more), limits) if len(more) > 1 else None
    auth = None if token is None else Shown(token)
    return httpx.AsyncClient(
        base_url=first, transport=transport, timeout=timeout_s, headers=JSON, auth=auth, limits=limits
    )


def spread(address: str) -> tuple[str, list[str]]:
    """The first of one or more addresses, and all."""
    addresses = [part.strip() for part in address.split(",")]
    return addresses[0], addresses


class Shown(httpx.Auth):
    """Shows with each request the token of then."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx."""
        request.headers["Authorization"] = authorization(self._token)
        yield request


def headers(token: str | None) -> dict[str, str]:
    """What every call says."""
    return JSON if token is None else JSON | {"Authorization": f"Bearer {token}"}


@contextmanager
def reachable(address: str) -> Iterator[None]:
    """Turn connection failures into ReducerUnreachable."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise ReducerUnreachable(f"{address!r} is not the address of a reducer: {error}") from None
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise ReducerUnreachable(f"the reducer at {address} does not answer: {why}") from None


def answer(response: httpx.Response) -> Any:
    """The JSON body; an error body becomes its exception."""
    raise_for_error(response)
    try:
        return response.json()
    except ValueError:
        raise ReducerUnreachable(f"{response.url.host}:{response.url.port} does not answer as a reducer") from None


def raise_for_error(response: httpx.Response) -> None:
    """Raise the error that the reducer named, if it named one; `detail["retry_after_s"]` is when to ask again."""
    if response.is_success:
        return
    try:
        error = response.json()["error"]
        failure = from_code(str(error["code"]), str(error["reason"]), **error.get("detail", {}))
    except (ValueError, KeyError, TypeError):
        kind = NotFound if response.status_code == httpx.codes.NOT_FOUND else FednError
        failure = kind(f"{response.request.method} {response.url.path}: HTTP {response.status_code}")
    retry_after = response.headers.get("Retry-After", "")
    if retry_after.isdecimal():
        failure.detail["retry_after_s"] = float(retry_after)
    raise failure


async def call(client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Any:
    """One call of a role; returns the JSON answer."""
    with reachable(str(client.base_url)):
        response = await client.request(method, path, **arguments)
    return answer(response)
