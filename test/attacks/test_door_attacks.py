"""Attempts to come in without the right token: at a real reducer process, at its application, at a real combiner."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from itsdangerous import TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer

from fedn.combiner.server import Combiner
from fedn.errors import CombinerUnreachable, PermissionDenied, Unauthenticated
from fedn.reducer.login import COOKIE, LASTS_S
from fedn.reducer.throttle import FAILURES
from fedn.security.tokens import Tokens
from fedn.wire.channel import dial
from fedn.wire.status import rpc_errors
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1 import control_pb2_grpc
from test.system.network import Network, network
from test.unit.combiner_bench import settings
from test.unit.dashboard_bench import Bench
from test.unit.door_bench import ADMIN, HERE, NETWORK, PAGE, WRONG, cookie_of, locked

KEY = Tokens(network=NETWORK, admin=ADMIN).key("login cookie")


# ── at a real process ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def reducer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    tokens = {"FEDN_ALLIANCE_AUTH_TOKEN": NETWORK, "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN": ADMIN}
    with network(tmp_path_factory.mktemp("locked"), **tokens) as made:
        made.reducer("--log-level", "debug")
        made.ready()
        yield made
        assert not any(token in made.roles["reducer"].text for token in (ADMIN, NETWORK, WRONG))


def raw(reducer: Network, request: str) -> str:
    """Send these bytes and read the answer to its end."""
    url = urlsplit(reducer.address)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=30) as wire:
        wire.sendall(request.encode("latin-1"))
        wire.shutdown(socket.SHUT_WR)
        answer = b""
        while block := wire.recv(65536):
            answer += block
    return answer.decode("latin-1")


def test_a_token_in_the_address_opens_nothing(reducer: Network) -> None:
    for query in (f"token={ADMIN}", f"access_token={ADMIN}", f"Authorization=Bearer%20{ADMIN}", f"{COOKIE}={ADMIN}"):
        answer = httpx.get(f"{reducer.address}/api/v1/network?{query}")
        assert answer.status_code == 401
        assert ADMIN not in answer.text
    assert httpx.post(f"{reducer.address}/login?token={ADMIN}", data={}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization:\r\n",
        f"Authorization: {ADMIN}\r\n",
        f"Authorization: Bearer {ADMIN} {ADMIN}\r\n",
        f"Authorization: Bearer {WRONG}\r\nAuthorization: Bearer {ADMIN}\r\n",
        f"Authorization: Bearer {ADMIN}\r\nAuthorization: Bearer {ADMIN}\r\n",
        f"Authorization: Bearer\r\n {ADMIN}\r\n",
        f"Authorization: Bearer x\x00{ADMIN}\r\n",
        f"X-Forwarded-User: admin\r\nX-Authorization: Bearer {ADMIN}\r\n",
        f"Proxy-Authorization: Bearer {ADMIN}\r\n",
        f"HTTP_AUTHORIZATION: Bearer {ADMIN}\r\n",
        f"Authorization_: Bearer {ADMIN}\r\n",
        f"Authorization: Bearer {'x' * 7000}\r\n",
        f"Authorization: Bearer {'x' * 100_000}\r\n",
        f"Authorization: Bearer {ADMIN}é\r\n",
        f"Cookie: {COOKIE}={ADMIN}\r\n",
    ],
)
def test_headers_that_are_not_quite_right_open_nothing(reducer: Network, headers: str) -> None:
    answer = raw(reducer, f"GET /api/v1/network HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    assert answer.split(" ")[1] in ("400", "401", "431"), answer[:200]
    assert "combiners" not in answer
    assert ADMIN not in answer


def test_a_second_request_hidden_in_the_first_is_asked_for_its_token_too(reducer: Network) -> None:
    hidden = "GET /api/v1/network HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    first = f"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for request in (first + hidden, first + "0\r\n\r\n" + hidden):
        assert '"combiners"' not in raw(reducer, request)


def test_the_way_onward_splits_no_header_and_leads_nowhere_else(reducer: Network) -> None:
    for onward in ("/\r\nSet-Cookie: x=y", "/%0d%0aX: y", "//evil.example/", "/\\evil.example", "http://evil.example/"):
        answer = httpx.post(f"{reducer.address}/login", data={"token": ADMIN, "next": onward})
        assert answer.status_code == 303
        assert answer.headers["Location"] in ("/", "/%0d%0aX: y".replace(" ", "%20"), "/%0d%0aX:%20y")
        assert [name for name, _ in answer.headers.multi_items()].count("set-cookie") == 1


def test_a_refusal_costs_no_more_than_its_header(reducer: Network) -> None:
    """A gigabyte is announced; the refusal comes before any of it is read or kept."""
    head = b"POST /seed HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nConnection: close\r\n\r\n"
    url = urlsplit(reducer.address)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=30) as wire:
        wire.sendall(head)
        assert wire.recv(13) == b"HTTP/1.1 401 "
    assert list((reducer.folder / "reducer" / "uploads").iterdir()) == []


def test_a_guesser_is_slowed_down_and_shown_nothing(reducer: Network) -> None:
    codes = [
        httpx.post(f"{reducer.address}/login", data={"token": f"guess-{k}"}).status_code for k in range(3 * FAILURES)
    ]
    assert set(codes) == {401, 429}
    assert codes.count(401) <= FAILURES
    held = httpx.get(f"{reducer.address}/api/v1/network", headers={"Authorization": f"Bearer {NETWORK}"})
    assert held.status_code == 200, "a guesser must not lock out who has a token"


# ── the cookie ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with locked(tmp_path) as one:
        yield one


@pytest.fixture
def client(made: Bench) -> Any:
    return made.app().test_client(use_cookies=False)


def with_cookie(client: Any, value: str) -> int:
    status: int = client.get("/api/v1/network", headers={"Cookie": f"{COOKIE}={value}"}).status_code
    return status


def signer(key: bytes = KEY, salt: str = "fedn.login") -> URLSafeTimedSerializer:
    how = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeTimedSerializer(key, salt=salt, signer_kwargs=how)


def signed(what: object, made_by: URLSafeSerializer | URLSafeTimedSerializer) -> str:
    value = made_by.dumps(what)
    return value if isinstance(value, str) else value.decode()


def test_the_cookie_is_what_this_file_takes_it_for(client: Any) -> None:
    assert with_cookie(client, signed("admin", signer())) == 200


def test_a_forged_cookie_opens_nothing(client: Any) -> None:
    entered = client.post("/login", data={"token": NETWORK}, headers=HERE)
    member = cookie_of(entered)
    body, stamp, signature = member.split(".")
    admin = base64.urlsafe_b64encode(json.dumps("admin").encode()).rstrip(b"=").decode()
    public = [b"", b"secret", NETWORK.encode(), Tokens(network=NETWORK, admin=NETWORK).key("login cookie")]
    forged = [
        "",
        "admin",
        admin,
        f"{admin}.{stamp}.{signature}",
        f"{body}.{stamp}.",
        f"{body}.{stamp}",
        f"{body}.{stamp}.{signature[:-2]}",
        f"{body}.AAAAAA.{signature}",
        member + "x",
        member * 100,
        signed("admin", signer(salt="another")),
        signed("admin", URLSafeSerializer(KEY, salt="fedn.login")),
        *(signed("admin", signer(key)) for key in public if key),
        *(signed(role, signer()) for role in ("root", None, ["admin"], {"role": "admin"}, 1)),
    ]
    assert with_cookie(client, member) == 200
    assert {with_cookie(client, value) for value in forged} == {401}


def test_an_old_cookie_and_one_from_the_future_open_nothing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    for made_at, status in ((now - LASTS_S - 5, 401), (now - LASTS_S + 60, 200), (now + 3600, 401)):
        with monkeypatch.context() as patched:
            patched.setattr(TimestampSigner, "get_timestamp", lambda _, made_at=made_at: made_at)
            old = signed("admin", signer())
        assert with_cookie(client, old) == status


def test_a_cookie_of_the_network_token_cannot_change_anything(client: Any) -> None:
    member = cookie_of(client.post("/login", data={"token": NETWORK}, headers=HERE))
    answer = client.post("/start", json={}, headers=HERE | {"Cookie": f"{COOKIE}={member}"})
    assert answer.status_code == 403


@pytest.mark.parametrize("token", ["", " ", "\x00", ADMIN[:-1], ADMIN + "\x00", "x" * 400_000, "'; --", "<b>"])
def test_no_other_token_logs_in(client: Any, token: str) -> None:
    answer = client.post("/login", data={"token": token}, headers=HERE | PAGE)
    assert answer.status_code in (401, 413)
    assert "Set-Cookie" not in answer.headers
    assert "<b>" not in answer.text


@pytest.mark.parametrize("body", [{"token": ["a"]}, {"token": None}, {"token": {"$ne": ""}}, {"token": True}, {}])
def test_a_token_that_is_no_text_logs_nobody_in(client: Any, body: dict[str, Any]) -> None:
    assert client.post("/login", json=body, headers=HERE).status_code == 401


# ── with the network token, at what is for admins ────────────────────────────────────────────────


async def test_a_clients_token_does_not_lead_a_combiner(tmp_path: Path) -> None:
    combiner = Combiner(settings(tmp_path, auth_token=NETWORK, admin_token=ADMIN))
    await combiner.start()
    async with dial(combiner.address, token=NETWORK) as member, dial(combiner.address, token=secrets.token_hex()) as no:
        for channel, refusal in ((member, PermissionDenied), (no, Unauthenticated)):
            stub = control_pb2_grpc.ControlStub(channel)
            calls: list[Callable[[], Awaitable[Any]]] = [
                partial(stub.EndRound, control.EndRoundRequest(term=2**60, round_id="r")),
                partial(stub.AbortRound, control.AbortRoundRequest(term=2**60, round_id="r")),
                partial(stub.Report, control.ReportRequest()),
            ]
            for ask in calls:
                with pytest.raises(refusal):
                    async with rpc_errors(unreachable=CombinerUnreachable):
                        await ask()
    async with dial(combiner.address, token=ADMIN) as admin:  # the term that was tried has fenced nobody
        await control_pb2_grpc.ControlStub(admin).EndRound(control.EndRoundRequest(term=1, round_id="r"))
    await combiner.stop()


def test_a_clients_token_adds_no_combiner(made: Bench, client: Any) -> None:
    body = {"name": "evil", "identity": "x", "address": "192.0.2.1:1"}
    answer = client.post("/add", json=body, headers={"Authorization": f"Bearer {NETWORK}"})
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "permission_denied")
    assert made.desk.state.find("combiners") == []
