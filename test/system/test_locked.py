"""A network with tokens, as processes: who has one works, who has none is told so, and no token shows anywhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from test.system.network import Network, command, complained, marked, network, until

NETWORK, ADMIN, WRONG = (secrets.token_urlsafe(32) for _ in range(3))
AS_MEMBER = {"FEDN_ALLIANCE_AUTH_TOKEN": NETWORK}
AS_ADMIN = AS_MEMBER | {"FEDN_ALLIANCE_ADMIN_AUTH_TOKEN": ADMIN}
NOBODY = dict.fromkeys(AS_ADMIN, "")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    talkative = {f"FEDN_{role}_LOG_LEVEL": "debug" for role in ("REDUCER", "COMBINER", "CLIENT")}
    with network(tmp_path_factory.mktemp("locked"), **AS_ADMIN, **talkative) as made:
        made.http.headers["Authorization"] = f"Bearer {ADMIN}"
        made.up(clients=2, workers=2)
        yield made


def test_a_locked_network_trains_and_no_token_shows_anywhere(running: Network) -> None:
    session = running.start(rounds=2, clients_required=2)
    assert running.ended(session)["status"] == "finished"
    assert "trail verified" in running.fedn("trail", "verify").stdout
    answers = [running.http.get(f"{running.address}{path}").text for path in ("/", f"/api/v1/sessions/{session}")]
    words = [role.text for role in running.roles.values()] + list(marked(running.mark).values()) + answers
    assert not any(token in text for token in (NETWORK, ADMIN) for text in words)


def test_a_command_without_the_right_token_says_so_and_has_an_exit_code_of_its_own(running: Network) -> None:
    status = ("session", "status", "--reducer", running.address)
    start = ("session", "start", "--reducer", running.address)
    none = complained(command(*status), code="unauthenticated", exit_code=10)
    assert "none came" in none
    wrong = complained(command(*status, FEDN_ALLIANCE_AUTH_TOKEN=WRONG), code="unauthenticated", exit_code=10)
    assert "does not know this token" in wrong
    assert WRONG not in wrong
    assert "admin token" in complained(command(*start, cwd=None, **AS_MEMBER), code="permission_denied", exit_code=10)
    weak = complained(command(*status, FEDN_ALLIANCE_AUTH_TOKEN="change-me"), code="config_invalid", exit_code=2)
    assert "FEDN_ALLIANCE_AUTH_TOKEN is a placeholder" in weak


def test_a_command_takes_the_token_from_the_environment_or_a_file(running: Network, tmp_path: Path) -> None:
    listed = ("session", "list", "--json", "--reducer", running.address)
    file = tmp_path / "token"
    file.write_text(f"{ADMIN}\n")
    for done in (
        command(*listed, cwd=None, **AS_MEMBER),
        command(*listed, cwd=None, **AS_ADMIN),
        command(*listed, FEDN_ALLIANCE_ADMIN_AUTH_TOKEN=ADMIN, FEDN_ALLIANCE_AUTH_TOKEN=WRONG),
        command(*listed, "--token-file", file),
        command(*listed, "--token-file", file, FEDN_ALLIANCE_AUTH_TOKEN=WRONG),
    ):
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), list)
    gone = command(*listed, "--token-file", tmp_path / "none")
    assert "No such file" in complained(gone, code="bad_input", exit_code=2)
    file.write_text("")
    assert str(file) in complained(command(*listed, "--token-file", file), code="config_invalid", exit_code=2)


@pytest.mark.parametrize("role", ["client", "combiner"])
@pytest.mark.parametrize("tokens", [NOBODY, dict.fromkeys(AS_ADMIN, WRONG)])
def test_a_role_that_is_refused_says_so_in_one_sentence_and_ends(
    running: Network, tmp_path: Path, role: str, tokens: dict[str, str]
) -> None:
    if role == "combiner" and tokens["FEDN_ALLIANCE_AUTH_TOKEN"]:
        tokens = tokens | {
            "FEDN_ALLIANCE_AUTH_TOKEN": secrets.token_urlsafe(32)
        }  # two that are equal it refuses itself
    done = command("run", role, "--reducer", running.address, "--dir", tmp_path / role, cwd=None, **tokens)
    assert (done.returncode, "Traceback" in done.stderr) == (10, False), done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the reducer ")
    assert last.endswith("[unauthenticated]")
    assert "WARNING" not in done.stderr, "it must not come again and again"
    assert WRONG not in done.stderr


def test_a_combiner_with_the_network_token_alone_does_not_come_in(running: Network) -> None:
    body = {"name": "evil", "identity": "x", "address": "127.0.0.1:1"}
    answer = httpx.post(f"{running.address}/add", json=body, headers={"Authorization": f"Bearer {NETWORK}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert [combiner["name"] for combiner in running.get("/")["combiners"]] == ["north"]


@pytest.mark.parametrize("role", ["reducer", "combiner"])
def test_a_role_that_others_can_reach_does_not_start_without_tokens(role: str, tmp_path: Path) -> None:
    at = ("run", role, "--host", "0.0.0.0", "--port", 0, "--dir", tmp_path / role)
    said = complained(command(*at), code="config_invalid", exit_code=2)
    assert "needs tokens" in said
    assert "fedn env init" in said
    half = complained(command(*at, cwd=None, **AS_MEMBER), code="config_invalid", exit_code=2)
    assert "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN is not" in half
    equal = complained(command(*at, cwd=None, **dict.fromkeys(AS_ADMIN, ADMIN)), code="config_invalid", exit_code=2)
    assert "are equal" in equal
    assert not (tmp_path / role).exists()


def test_a_locked_reducer_may_be_reached_from_elsewhere(tmp_path: Path) -> None:
    with network(tmp_path, **AS_ADMIN) as made:
        made.reducer("--host", "0.0.0.0")
        made.ready()
        asked = made.http.get(made.address, headers={"Host": "fedn.example.org"})
        assert asked.status_code == 401
        made.http.headers["Authorization"] = f"Bearer {NETWORK}"
        until(lambda: made.get("/api/v1/network")["connected"] == 0, "the token opens it")


def test_behind_a_proxy_that_ends_tls_the_login_stays_with_https(running: Network) -> None:
    told = {"Origin": "https://fedn.example.org", "Host": "fedn.example.org", "X-Forwarded-Proto": "https"}
    entered = httpx.post(f"{running.address}/login", data={"token": ADMIN}, headers=told)
    assert entered.status_code == 303
    assert "Secure" in entered.headers["Set-Cookie"].split("; ")


def test_only_the_proxy_that_is_named_is_believed(tmp_path: Path) -> None:
    told = {"X-Forwarded-Proto": "https"}
    with network(tmp_path, **AS_ADMIN, FORWARDED_ALLOW_IPS="127.0.0.2") as made:
        made.reducer()
        made.ready()

        def marked(proxy: str) -> bool:
            with httpx.Client(transport=httpx.HTTPTransport(local_address=proxy)) as http:
                entered = http.post(f"{made.address}/login", data={"token": ADMIN}, headers=told)
            assert entered.status_code == 303
            return "Secure" in entered.headers["Set-Cookie"].split("; ")

        assert [marked("127.0.0.2"), marked("127.0.0.1")] == [True, False]


def test_a_sandbox_with_one_of_two_tokens_says_so_before_it_starts_anything(tmp_path: Path) -> None:
    done = command("sandbox", "--keep", tmp_path / "kept", cwd=Path.cwd(), **AS_MEMBER)
    assert "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN is not" in complained(done, code="config_invalid", exit_code=2)
    assert not (tmp_path / "kept" / "logs").exists()
