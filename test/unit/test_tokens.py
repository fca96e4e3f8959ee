from __future__ import annotations

import hmac
import secrets

import pytest

from fedn.config import ClientSettings, CombinerSettings, ReducerSettings, load
from fedn.errors import ConfigInvalid
from fedn.security.caller import Caller, Role
from fedn.security.placeholders import is_placeholder
from fedn.security.tokens import Tokens, bearer, is_loopback, own_token, tokens_of

NETWORK, ADMIN = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
BOTH = {"FEDN_ALLIANCE_AUTH_TOKEN": NETWORK, "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN": ADMIN}


def test_each_token_says_who_is_asking() -> None:
    pair = Tokens(network=NETWORK, admin=ADMIN)
    assert pair.caller(NETWORK) == Caller(Role.MEMBER)
    assert pair.caller(ADMIN) == Caller(Role.ADMIN)


@pytest.mark.parametrize(
    "wrong", ["", NETWORK[:-1], NETWORK + "x", NETWORK.swapcase(), "é" * 40, "\udcff", "x" * 10**6]
)
def test_any_other_token_is_nobody(wrong: str) -> None:
    assert Tokens(network=NETWORK, admin=ADMIN).caller(wrong) is None


def test_both_tokens_are_compared_in_constant_time_whatever_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    pair = Tokens(network=NETWORK, admin=ADMIN)
    monkeypatch.setattr("fedn.security.tokens.hmac.compare_digest", watched)
    for given in (ADMIN, NETWORK, "", "x" * 1000):
        pair.caller(given)
    assert compared == [(32, 32)] * 8  # digests of one length, so not even the length shows


def test_the_key_changes_with_either_token_and_with_its_purpose() -> None:
    pair, again = Tokens(network=NETWORK, admin=ADMIN), Tokens(network=NETWORK, admin=ADMIN)
    others = [Tokens(network=NETWORK, admin=ADMIN + "x"), Tokens(network=NETWORK + "x", admin=ADMIN)]
    assert hmac.compare_digest(pair.key("a"), again.key("a"))
    assert len({pair.key("a"), pair.key("b"), *(o.key("a") for o in others)}) == 4


@pytest.mark.parametrize(("header", "token"), [("Bearer abc", "abc"), ("bearer  a.b-c~", "a.b-c~")])
def test_a_bearer_header_is_read(header: str, token: str) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "abc", "Basic abc", "Bearer a b", "Bearer a,Bearer b", "Bearer é", "Bearer a\n"]
)
def test_no_other_header_is(header: str) -> None:
    assert bearer(header) is None


@pytest.mark.parametrize("cls", [ReducerSettings, CombinerSettings])
def test_without_tokens_a_process_serves_this_machine_alone(cls: type[ReducerSettings | CombinerSettings]) -> None:
    assert tokens_of(cls()) is None
    with pytest.raises(ConfigInvalid, match=r"listening at 0\.0\.0\.0, .*FEDN_ALLIANCE_AUTH_TOKEN.*fedn env init"):
        tokens_of(cls(host="0.0.0.0"))
    assert tokens_of(load(cls, environ=BOTH, overrides={"host": "0.0.0.0"})) is not None


@pytest.mark.parametrize("there", sorted(BOTH))
def test_one_of_two_tokens_is_refused_also_at_loopback(there: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"{there} is set and FEDN_[A-Z_]+ is not"):
        tokens_of(load(ReducerSettings, environ={there: BOTH[there]}))


def test_equal_tokens_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="are equal"):
        tokens_of(ReducerSettings(auth_token=ADMIN, admin_token=ADMIN))


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        ("change-me", "is a placeholder"),
        ("<change me to something random>", "is a placeholder"),
        ("CHANGE_ME_0f3a9c7be1d2", "is a placeholder"),
        ("my-very-secret-token", "is a placeholder"),
        ("a" * 40, "is a placeholder"),
        ("ababababababababababab", "is a placeholder"),
        ("f3a9c7be1d2", "16 to 512"),
        ("with space f3a9c7be1d2f3a", "16 to 512"),
        ("line\r\nX-Header: f3a9c7be1d2f3a", "16 to 512"),
        ("ünicode-f3a9c7be1d2f3a9c", "16 to 512"),
        (NETWORK * 20, "16 to 512"),
    ],
)
def test_a_weak_token_is_refused_and_never_said(weak: str, why: str) -> None:
    for attempt in (
        lambda: tokens_of(ReducerSettings(auth_token=weak, admin_token=ADMIN)),
        lambda: tokens_of(CombinerSettings(auth_token=NETWORK, admin_token=weak)),
        lambda: own_token(ClientSettings(auth_token=weak)),
    ):
        with pytest.raises(ConfigInvalid) as caught:
            attempt()
        assert why in caught.value.reason
        assert weak not in caught.value.reason


def test_random_tokens_are_no_placeholders() -> None:
    assert not any(is_placeholder(secrets.token_urlsafe(32)) for _ in range(2000))


def test_a_client_has_the_network_token_only() -> None:
    settings = load(ClientSettings, environ=BOTH)
    assert (shown := own_token(settings)) is not None
    assert shown() == NETWORK
    assert ADMIN not in repr(vars(settings))


@pytest.mark.parametrize("cls", [ReducerSettings, CombinerSettings, ClientSettings])
def test_tokens_do_not_show(cls: type[ReducerSettings | CombinerSettings | ClientSettings]) -> None:
    shown = repr(load(cls, environ=BOTH))
    assert NETWORK not in shown
    assert ADMIN not in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1", "example.org", "localhost.example.org"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
