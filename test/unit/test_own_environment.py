"""On the user's own machine: scripts run in the environment that the project asks for, unless it is not wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedn.cli.own_environment import python_of
from fedn.client.environment import Python
from fedn.package.project import Project, load_project
from test.unit.wheels import index_of, wheel


def project(folder: Path, python_env: str = "python_env: requirements.txt\n") -> Project:
    (folder / "p").mkdir()
    (folder / "p" / "requirements.txt").write_text("rare==1.0\n")
    (folder / "p" / "fedn.yaml").write_text(python_env + "entry_points: {train: python train.py}\n")
    return load_project(folder / "p")


def test_the_environment_is_made_where_a_client_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(index_of(tmp_path / "index", monkeypatch), "rare", "1.0", "NUMBER = 9\n")
    monkeypatch.setenv("FEDN_CLIENT_ENV_DIR", str(tmp_path / "envs"))
    said: list[str] = []
    for _ in range(2):  # the second time it is there
        with python_of(
            project(tmp_path) if not said else load_project(tmp_path / "p"), env=None, say=said.append
        ) as own:
            assert own.executable.startswith(str(tmp_path / "envs"))
            done = subprocess.run(
                [own.executable, "-c", "import rare; print(rare.NUMBER)"], capture_output=True, text=True
            )
            assert done.stdout == "9\n"
    assert said[0].startswith("virtual environment of requirements.txt: made once")
    assert len([path for path in (tmp_path / "envs").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("why", ["the project asks for none", "the user", "the settings", "it is not needed"])
def test_or_the_python_that_runs_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "the settings":
        monkeypatch.setenv("FEDN_CLIENT_ENV", "false")
    asked = project(tmp_path, "") if why == "the project asks for none" else project(tmp_path)
    said: list[str] = []
    env, needed = False if why == "the user" else None, why != "it is not needed"
    with python_of(asked, env=env, needed=needed, say=said.append) as python:
        assert python == Python(sys.executable)
    assert said == []
