"""python -m pytest: every script once, as a client runs it."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_client_learns_and_predicts():
    local = [sys.executable, "-m", "fedn", "run", "local", str(Path(__file__).parent), "--no-env", "--json"]
    done = subprocess.run(local, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["error"] is None, report["error"]
    assert report["notes"] == []
    steps = {step["step"]: step for step in report["steps"]}
    assert steps["train"]["num_examples"] > steps["validate"]["num_examples"]
    assert steps["validate"]["metrics"]["accuracy"] > 0.5
