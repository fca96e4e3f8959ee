"""`fedn init`, `fedn run local`, `fedn sandbox`: what a newcomer types, for each framework, is green."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedn.cli.init import FRAMEWORKS
from test.system.network import PATIENCE_S, clean_environ, command, network


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_project_runs_locally_and_trains_in_a_sandbox(tmp_path: Path, framework: str) -> None:
    folder, out = tmp_path / "myproject", tmp_path / "out.json"
    made = command("init", folder, "--framework", framework)
    assert made.returncode == 0, made.stderr
    assert re.findall(r"^  (fedn .*?)  +#", made.stdout, re.MULTILINE) == [
        f"fedn run local {folder} --no-env",
        f"fedn sandbox {folder} --no-env",
    ]
    local = command("run", "local", folder, "--no-env", "--json")
    assert local.returncode == 0, (local.stdout, local.stderr)
    report = json.loads(local.stdout)
    assert (report["error"], report["notes"]) == (None, [])
    names = [step["step"] for step in report["steps"]]
    assert names == ["environment", "seed model", "package", "unpack", "train", "validate", "predict"]
    with network(tmp_path) as running:
        size = ["--combiners", 1, "--replicas", 2, "--workers", 1, "--rounds", 2, "--no-env"]
        sandbox = running.run("sandbox", "sandbox", folder, *size, "--json", out)
        assert sandbox.ends(within=240) == 0, sandbox.text
    result = json.loads(out.read_text())
    assert result["project"] == "myproject"
    assert result["trail_verified"]
    assert [line["participants"] for line in result["rounds"]] == [2, 2]
    assert result["rounds"][1]["accuracy"] > 0.9


def test_the_test_of_a_new_project_passes(tmp_path: Path) -> None:
    assert command("init", tmp_path / "new", "--framework", "numpy").returncode == 0
    # no:cacheprovider: nothing is to be written outside of what is tested
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_project.py"]
    environ = clean_environ("the project's own test")
    done = subprocess.run(
        pytest_, cwd=tmp_path / "new", env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
