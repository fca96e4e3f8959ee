"""The sandbox's own reducer, whatever a deployment's .env has left in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedn.cli.own_reducer import start_reducer
from fedn.cli.processes import Processes


def test_it_listens_at_this_machine_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDN_REDUCER_HOST", "reducer")
    monkeypatch.setenv("FEDN_REDUCER_PORT", "8090")
    for token in ("FEDN_ALLIANCE_AUTH_TOKEN", "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"):
        monkeypatch.delenv(token, raising=False)
    with Processes(tmp_path / "logs") as processes:
        assert start_reducer(processes, tmp_path / "reducer", wanted=None).startswith("http://127.0.0.1:")
