"""The client folder of a project for FEDn 0.33 runs with one import line changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fedn.model.helpers.v0 import get_helper
from test.project_of_0_33 import write_project
from test.system.network import command, network


def test_it_runs_locally_and_trains_in_a_sandbox(tmp_path: Path) -> None:
    client, out, model = write_project(tmp_path), tmp_path / "out.json", tmp_path / "model"
    local = command("run", "local", client, "--no-env", "--json")
    assert local.returncode == 0, (local.stdout, local.stderr)
    report = json.loads(local.stdout)
    names = ["environment", "seed model", "package", "unpack", "startup", "train", "validate"]
    assert (report["error"], [step["step"] for step in report["steps"]]) == (None, names)
    with network(tmp_path) as running:
        size = ["--combiners", 1, "--replicas", 2, "--workers", 1, "--rounds", 2, "--no-env"]
        files = ["--json", out, "--model", model]
        sandbox = running.run("sandbox", "sandbox", client, *size, *files)
        assert sandbox.ends() == 0, sandbox.text
    result = json.loads(out.read_text())
    assert (result["project"], result["trail_verified"]) == ("line", True)
    assert [line["participants"] for line in result["rounds"]] == [2, 2]
    weights, bias, steps = get_helper("numpyhelper").load(model)
    assert steps == 400  # 200 in each round: an integer stays one
    np.testing.assert_allclose([*weights, bias], [0.4433, 0.5704, 2.9243], atol=1e-3)  # 400 steps of one client
