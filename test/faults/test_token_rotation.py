"""Both tokens of a network change while it runs, as docs/security.md says: nobody is stopped, and the old ones end."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
import pytest

from test.system.network import Network, network, until

pytestmark = pytest.mark.system


def test_tokens_change_while_everything_runs(tmp_path: Path) -> None:
    old, new, admin, new_admin = (secrets.token_urlsafe(32) for _ in range(4))
    servers, clients, admins = (tmp_path / name for name in ("servers", "clients", "admins"))
    write(servers, old)
    write(clients, old)
    write(admins, admin)
    files = {"FEDN_ALLIANCE_AUTH_TOKEN_FILE": str(servers), "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN_FILE": str(admins)}
    with network(tmp_path, **files) as net:
        shows(net, admin)
        net.reducer()
        net.ready()
        combiner = net.combiner()
        combiner.says("knows combiner north")
        net.plant()
        client = net.client("c", "--auth-token-file", clients)
        client.says("attached to combiner")
        net.finished(net.start(rounds=1))

        write(servers, new, old)
        write(admins, admin, new_admin)
        net.finished(net.start(rounds=1))
        write(clients, new)
        write(admins, new_admin, admin)
        shows(net, new_admin)
        assert net.fedn("session", "list", "--token-file", admins).returncode == 0
        net.finished(net.start(rounds=1))
        write(servers, new)
        write(admins, new_admin)
        net.finished(net.start(rounds=1))

        for gone in (old, admin):
            refused = httpx.get(f"{net.address}/", headers={"Authorization": f"Bearer {gone}"})
            assert refused.json()["error"]["code"] == "unauthenticated"
        assert client.alive
        assert client.text.count("attached to combiner") == 1, "its stream was not ended"

        write(clients, old)  # a mistake, which costs nothing but the time that it lasts
        combiner.kill()
        net.combiner().says("knows combiner north", times=2)
        client.says("does not know this token")
        write(clients, new)
        client.says("attached to combiner", times=2)
        until(lambda: net.get("/")["connected"] == 1, "the client is back")
        net.finished(net.start(rounds=1))
        logs = "".join(role.text for role in net.roles.values())
        assert not any(token in logs for token in (old, new, admin, new_admin))


def write(file: Path, *tokens: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text("\n".join(tokens))
    fresh.replace(file)


def shows(net: Network, token: str) -> None:
    """From now on the test is an admin who has this token."""
    net.http.headers["Authorization"] = f"Bearer {token}"
