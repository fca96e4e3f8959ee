"""`fedn run local` as a process: what it says, how it ends, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

from test.system.network import PUPPET, command, network, until


def test_a_failure_is_a_table_a_sentence_the_scripts_words_and_advice(tmp_path: Path) -> None:
    project = shutil.copytree(PUPPET, tmp_path / "project")
    (project / "client" / "train.py").write_text("import numpy\nimport rare_and_absent\n")
    done = command("run", "local", project)
    assert done.returncode == 7, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "step",
        "environment",
        "seed model",
        "package",
        "unpack",
        "train",
    ]
    first, *said = done.stderr.splitlines()
    assert first.startswith("error: `python train.py`")
    assert first.endswith("ModuleNotFoundError: No module named 'rare_and_absent' [entry_point_failed]")
    assert said[-1] == "  → rare_and_absent is not installed in this Python: pip install rare_and_absent"
    assert not list(project.rglob("*.safetensors"))


def test_an_interrupt_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    settings = ["--setting", f"train={json.dumps({'0': 'wait'})}", "--setting", f"folder={tmp_path}"]
    with network(tmp_path) as running:
        local = running.run("local", "run", "local", PUPPET, *settings, TMPDIR=str(scratch))
        until(lambda: list(tmp_path.glob("waits-*")) or not local.alive, "the training waits")
        assert local.alive, local.tail
        os.killpg(local.process.pid, signal.SIGINT)
        assert local.ends() == 130, local.text
        assert not running.left()
    assert "Traceback" not in local.text
    assert local.text.rstrip().endswith("[interrupted]")
    assert not list(scratch.iterdir())
