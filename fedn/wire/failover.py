"""Several reducers, one of which is enough: a request goes to the one that answered last, else to the next.

Only a connection that could not be made is tried at another address at once; what broke off later may have been done,
and whoever asked decides whether to ask again. That then goes to the next address.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

REFUSED = (httpx.ConnectError, httpx.ConnectTimeout)


class Addresses:
    """Where to ask; remembers where the last answer came from."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._urls = [httpx.URL(address) for address in addresses]
        self._at = 0

    def __len__(self) -> int:
        return len(self._urls)

    def aim(self, request: httpx.Request) -> int:
        """Send the request to the present address; which that is."""
        at = self._at
        url = self._urls[at]
        request.url = request.url.copy_with(scheme=url.scheme, host=url.host, port=url.port)
        request.headers["Host"] = url.netloc.decode("ascii")
        return at

    def failed(self, tried: int) -> None:
        """This address did not answer. Requests that fail at it side by side turn away from it once."""
        if tried == self._at:
            self._at = (tried + 1) % len(self._urls)


class Failover(httpx.BaseTransport):
    """For blocking clients."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        for left in reversed(range(len(self._addresses))):
            tried = self._addresses.aim(request)
            try:
                return self._transport.handle_request(request)
            except httpx.TransportError as error:
                self._addresses.failed(tried)
                if not left or not isinstance(error, REFUSED):
                    raise
        raise AssertionError("there is at least one address")

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


class AsyncFailover(httpx.AsyncBaseTransport):
    """For the roles' event loops."""

    def __init__(self, addresses: Addresses, limits: httpx.Limits) -> None:
        self._addresses = addresses
        self._transport = httpx.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        for left in reversed(range(len(self._addresses))):
            tried = self._addresses.aim(request)
            try:
                return await self._transport.handle_async_request(request)
            except httpx.TransportError as error:
                self._addresses.failed(tried)
                if not left or not isinstance(error, REFUSED):
                    raise
        raise AssertionError("there is at least one address")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()
