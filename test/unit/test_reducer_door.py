"""The reducer's door: every route and method, with each token, with none, and as a browser comes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from fedn.config import ReducerSettings
from fedn.errors import ConfigInvalid
from fedn.reducer import login
from fedn.reducer.api.login import own_path
from fedn.reducer.door import ASSETS, CHANGING, OPEN, PROBES, SAFE, WHO
from fedn.reducer.server import serve
from fedn.reducer.throttle import ADDRESSES, FAILURES, WINDOW_S, Throttle
from fedn.security.caller import ADMINS, ANYONE
from test.unit.dashboard_bench import DIGEST, Bench, bench
from test.unit.door_bench import ADMIN, HERE, NETWORK, PAGE, WRONG, closed, cookie_of, locked, paths, shows


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with locked(tmp_path) as one:
        yield one


@pytest.fixture
def app(made: Bench) -> Flask:
    return made.app()


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


def quietly(app: Flask) -> Any:
    """A client that keeps no cookies: those of the headers are sent as they are."""
    return app.test_client(use_cookies=False)


def log_in(client: Any, token: str = ADMIN, **more: str) -> Any:
    return client.post("/login", data={"token": token, **more}, headers=HERE | PAGE)


# ── tokens in the header ─────────────────────────────────────────────────────────────────────────


def test_every_route_says_who_may_use_it(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(WHO) | OPEN
    for path, method, rule in paths(app):
        if rule.methods and method in rule.methods - SAFE and rule.endpoint not in OPEN | {"login.leave"}:
            assert WHO[rule.endpoint] == ADMINS, f"{method} {path} changes something"
    assert {endpoint for endpoint in OPEN if "network" in endpoint} == PROBES == {"network.health", "network.ready"}


def test_without_a_right_token_nothing_is_handed_out(app: Flask) -> None:
    client, bodies = quietly(app), set()
    for path, method, _ in closed(app):
        for headers in ({}, shows(WRONG), {"Authorization": f"Basic {ADMIN}"}, {"Cookie": f"{login.COOKIE}=x"}):
            answer = client.open(path, method=method, headers=headers, buffered=True)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Set-Cookie" not in answer.headers
            assert "Allow" not in answer.headers
            if method != "HEAD":
                bodies.add(answer.text)
    assert len(bodies) == 3  # no token, a wrong one, a wrong cookie: the same words at every path


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/static/nothing.js", "/static/../app.py", "/seed/"])
def test_what_is_not_there_looks_like_what_is(client: Any, path: str) -> None:
    assert client.get(path).text == client.get("/").text
    assert client.get(path).status_code == 401
    assert client.get(path, headers=shows(NETWORK)).status_code in (404, 405)


def test_the_network_token_reads_and_the_admin_token_changes(app: Flask, client: Any) -> None:
    routes = app.url_map.bind("localhost")
    for path, method, _ in closed(app):
        member = client.open(path, method=method, headers=shows(NETWORK), buffered=True)
        admin = client.open(path, method=method, headers=shows(ADMIN), buffered=True)
        endpoint = None
        with suppress(HTTPException):
            endpoint = routes.match(path, method=method)[0]
        if endpoint is not None and WHO[endpoint] == ADMINS:
            assert member.status_code == 403, (method, path)
            assert method == "HEAD" or member.json["error"]["code"] == "permission_denied"
        else:
            assert member.status_code not in (401, 403), (method, path)
        assert admin.status_code not in (401, 403), (method, path)


def test_health_and_readiness_need_no_token(client: Any) -> None:
    for path in ("/health", "/ready"):
        assert client.get(path).status_code == 200


def test_only_what_the_login_page_needs_is_open_among_the_files(client: Any) -> None:
    asked = set(re.findall(r'"/static/([^"]+)"', client.get("/login", headers=PAGE).text))
    assert asked == ASSETS
    for name in ASSETS:
        assert client.get(f"/static/{name}", buffered=True).status_code == 200
    for name in ("network.js", "poll.js", "vendor/uplot/uPlot.min.css"):
        assert client.get(f"/static/{name}", buffered=True).status_code == 401
        assert client.get(f"/static/{name}", headers=shows(NETWORK), buffered=True).status_code == 200


def test_what_needed_a_token_rests_in_no_shared_cache(client: Any) -> None:
    answer = client.get("/api/v1/network", headers=shows(NETWORK))
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Cookie", "Accept"} <= set(answer.vary)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"host": "0.0.0.0"}, "needs tokens"),
        ({"auth_token": NETWORK}, "has both or none"),
        ({"auth_token": NETWORK, "admin_token": NETWORK}, "are equal"),
        ({"auth_token": "change-me", "admin_token": ADMIN, "host": "::"}, "placeholder"),
    ],
)
def test_a_reducer_does_not_start_unlocked(tmp_path: Path, more: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        serve(ReducerSettings(dir=tmp_path / "reducer", port=0, **more), listening=lambda _: pytest.fail("it listens"))  # type: ignore[arg-type]
    assert not (tmp_path / "reducer").exists()


# ── the browser ──────────────────────────────────────────────────────────────────────────────────


def test_a_page_that_needs_a_login_is_the_form_that_leads_back_to_it(client: Any) -> None:
    answer = client.get("/plot?session=a%20b", headers=PAGE)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert '<input type="hidden" name="next" value="/plot?session=a%20b">' in answer.text
    assert DIGEST[:12] not in answer.text
    assert "Trail" not in answer.text
    entered = log_in(client, next="/plot?session=a%20b")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/plot?session=a%20b")


def test_the_cookie_opens_the_pages_and_is_kept_from_scripts_and_other_sites(client: Any) -> None:
    entered = log_in(client)
    flags = entered.headers["Set-Cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(flags)
    assert "Secure" not in flags
    assert client.get("/trail", headers=PAGE).status_code == 200
    assert client.get("/api/v1/trail").status_code == 200
    assert ADMIN not in cookie_of(entered)


def test_over_https_the_cookie_stays_there(client: Any) -> None:
    entered = client.post("/login", data={"token": ADMIN}, base_url="https://localhost")
    assert "Secure" in entered.headers["Set-Cookie"].split("; ")


def test_logging_out_takes_the_cookie_away(client: Any) -> None:
    log_in(client)
    left = client.post("/logout", headers=HERE)
    assert (left.status_code, left.headers["Location"]) == (303, "/login")
    assert client.get("/").status_code == 401


def test_the_network_token_shows_the_pages_that_it_opens(client: Any) -> None:
    log_in(client, NETWORK)
    page = client.get("/", headers=PAGE).text
    assert "Trail" in page
    assert 'href="/start"' not in page
    refused = client.get("/start", headers=PAGE)
    assert refused.status_code == 403
    assert 'href="/login"' in refused.text
    assert client.post("/start", data={}, headers=HERE | PAGE).status_code == 403


def test_a_wrong_token_gets_the_form_again_with_the_reason(client: Any) -> None:
    answer = log_in(client, WRONG, next="/trail")
    assert answer.status_code == 401
    assert "does not know this token" in answer.text
    assert 'name="next" value="/trail"' in answer.text
    assert WRONG not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_workers_and_replicas_agree_on_the_cookie_and_a_changed_token_ends_it(tmp_path: Path) -> None:
    with locked(tmp_path) as made:
        cookie = cookie_of(log_in(made.app().test_client()))
        read = {"Cookie": f"{login.COOKIE}={cookie}"}
        assert quietly(made.app()).get("/", headers=read).status_code == 200
        for name in ("auth_token", "admin_token"):
            changed: Any = {name: WRONG}
            other = Bench(replace(made.desk, settings=replace(made.desk.settings, **changed)))
            assert quietly(other.app()).get("/", headers=read).status_code == 401


def test_the_login_leads_only_to_pages_of_its_own() -> None:
    for path in ("/", "/plot?session=x&y=%20", "/api/v1/sessions/s"):
        assert own_path(path) == path
    for path in ("", "plot", "//evil.example", "/\\evil.example", "/\t/evil", "https://evil.example/", "javascript:x"):
        assert own_path(path) == "/", path
    for path in ("/x\r\nSet-Cookie: a=b", "/\x00", "/a\\b", "/é", "/" + "x" * 3000, "/login?next=/", "/logout"):
        assert own_path(path) == "/", path


# ── a page of another site ───────────────────────────────────────────────────────────────────────

FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:81"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("foreign", [*FOREIGN, {}])
def test_a_change_by_cookie_must_come_from_our_own_pages(client: Any, foreign: dict[str, str]) -> None:
    log_in(client)
    for path, method in (
        ("/start", "POST"),
        ("/seed", "POST"),
        ("/logout", "POST"),
        ("/assign?client_id=a&name=a", "GET"),
    ):
        answer = client.open(path, method=method, headers=foreign)
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "foreign_request"), path


def test_our_own_pages_may_change_and_so_may_a_token_from_anywhere(client: Any) -> None:
    log_in(client)
    for ours in (HERE, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}):
        assert client.post("/start", data={}, headers=ours).status_code != 403
    client.delete_cookie(login.COOKIE)
    assert client.post("/start", json={}, headers=shows(ADMIN)).status_code != 403


@pytest.mark.parametrize("foreign", FOREIGN)
def test_another_site_cannot_log_somebody_in(client: Any, foreign: dict[str, str]) -> None:
    assert client.post("/login", data={"token": ADMIN}, headers=foreign).status_code == 403


@pytest.fixture
def unlocked(tmp_path: Path) -> Iterator[Any]:
    with bench(tmp_path / "open") as made:
        yield made.app().test_client()


@pytest.mark.parametrize("foreign", FOREIGN)
def test_without_tokens_another_site_changes_nothing_either(unlocked: Any, foreign: dict[str, str]) -> None:
    assert unlocked.post("/start", json={}, headers=foreign).json["error"]["code"] == "foreign_request"
    assert unlocked.get("/assign?client_id=a&name=a", headers=foreign).json["error"]["code"] == "foreign_request"
    assert "network.assign" in CHANGING


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8090", "192.0.2.1", "localhost.evil.example", "[::2]", "["]
)
def test_without_tokens_a_name_that_was_pointed_here_is_refused(unlocked: Any, host: str) -> None:
    for path in ("/", "/api/v1/trail", "/nothing", "/login"):
        answer = unlocked.get(path, headers={"Host": host})
        assert answer.status_code in (400, 403)
        assert "trail" not in answer.text
    assert unlocked.get("/ready", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8090", "[::1]:8090", "LOCALHOST:1", "127.8.9.10"])
def test_without_tokens_this_machine_is_asked_nothing(unlocked: Any, host: str) -> None:
    assert unlocked.get("/", headers={"Host": host} | PAGE).status_code == 200
    assert unlocked.get("/login", headers={"Host": host}).headers["Location"] == "/"
    assert unlocked.post("/login", headers={"Host": host}).headers["Location"] == "/"
    assert "Log out" not in unlocked.get("/", headers={"Host": host} | PAGE).text


# ── many failed logins ───────────────────────────────────────────────────────────────────────────


def test_who_fails_too_often_waits_and_others_do_not(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(FAILURES):
        assert log_in(client, WRONG).status_code == 401
    answer = log_in(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    other = client.post("/login", data={"token": ADMIN}, headers=HERE, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    assert other.status_code == 303
    assert WRONG not in caplog.text
    assert caplog.text.count("a login from 127.0.0.1 failed") == FAILURES


def test_the_wait_ends_and_addresses_are_forgotten() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    for _ in range(FAILURES):
        assert not throttle.refuses("192.0.2.1")
        throttle.failed("192.0.2.1")
    assert throttle.refuses("192.0.2.1")
    assert not throttle.refuses("192.0.2.2")
    now = WINDOW_S
    assert not throttle.refuses("192.0.2.1")
    throttle.failed("192.0.2.1")
    assert not throttle.refuses("192.0.2.1")
    for k in range(3 * ADDRESSES):
        throttle.failed(f"10.0.{k // 256}.{k % 256}")
    assert len(throttle) == ADDRESSES


def test_one_household_has_one_count() -> None:
    throttle = Throttle(lambda: 0.0)
    for k in range(FAILURES):
        throttle.failed(f"2001:db8::{k}")
    assert throttle.refuses("2001:db8::ffff")
    assert not throttle.refuses("2001:db8:0:1::1")
    assert not throttle.refuses("::ffff:192.0.2.1")


def test_the_roles_of_the_table_are_the_two_sets() -> None:
    assert set(WHO.values()) == {ANYONE, ADMINS}
