"""What a client does with a package before its first task: environment and startup, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedn.client import environment
from fedn.package.archive import create
from fedn.package.project import load_project
from fedn.wire.transfer import upload
from fedn.wire.v1 import control_pb2 as control
from test.unit.client_bench import Bench, bench
from test.unit.combiner_bench import Table, table
from test.unit.wheels import index_of, wheel

ZEROS = {"w": np.zeros(3, np.float32)}
YAML = """\
entry_points:
  startup: python startup.py
  train: {command: python train.py, isolation: worker}
  validate: python validate.py
"""
ENVIRONMENT_YAML = """\
python_env: requirements.txt
entry_points:
  train: {{command: python train.py, isolation: {isolation}}}
"""
STARTUP = """\
import os, pathlib, sys
if pathlib.Path(os.environ["FEDN_DATA_DIR"], "broken").exists():
    sys.exit("the data are not there")
with open("prepared", "a") as file:
    file.write("x")
"""
TRAIN = """\
import json, pathlib, shutil, sys
model, out = sys.argv[1:]
shutil.copy(model, out)
metrics = {"prepared": len(pathlib.Path("prepared").read_text())}
pathlib.Path(out + "-metadata").write_text(json.dumps({"num_examples": 3, "metrics": metrics}))
"""
RARE = """\
import json, pathlib, shutil, sys
import rare
model, out = sys.argv[1:]
shutil.copy(model, out)
pathlib.Path(out + "-metadata").write_text(json.dumps({"num_examples": 3, "metrics": {"rare": rare.NUMBER}}))
"""
VALIDATE = """\
import json, pathlib, sys
prepared = len(pathlib.Path("prepared").read_text())
pathlib.Path(sys.argv[2]).write_text(json.dumps({"prepared": prepared, "num_examples": 1}))
"""


async def stage(laid: Table, folder: Path, files: dict[str, str]) -> None:
    await laid.stage(ZEROS)
    project = folder / "project"
    project.mkdir()
    for name, content in files.items():
        (project / name).write_text(content)
    laid.package = create(load_project(project), folder / "package.tar")
    laid.package_size = (folder / "package.tar").stat().st_size
    await upload(laid.channel, folder / "package.tar", digest=laid.package)


async def line(set_up: Bench, round_id: str, kind: str = "TRAIN") -> control.ClientOutcome:
    await set_up.laid.start("c0", round_id=round_id, kind=kind)
    (client,) = (await set_up.laid.outcome(round_id)).clients
    return client


FILES = {"fedn.yaml": YAML, "startup.py": STARTUP, "train.py": TRAIN, "validate.py": VALIDATE}


async def test_startup_runs_once_before_the_first_task_of_each_life(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await stage(laid, tmp_path, FILES)
        set_up.live(data_dir=tmp_path)
        await set_up.attached()
        seen = [
            dict((await line(set_up, round_id, kind)).metrics)
            for round_id, kind in (("r1", "TRAIN"), ("r2", "VALIDATE"), ("r3", "TRAIN"))
        ]
        assert seen == [{"prepared": 1}] * 3
        await set_up.die()
        set_up.live(data_dir=tmp_path)
        await set_up.attached()
        assert dict((await line(set_up, "r4")).metrics) == {"prepared": 2}


async def test_a_startup_that_fails_fails_the_task_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await stage(laid, tmp_path, FILES)
        set_up.live(data_dir=tmp_path)
        await set_up.attached()
        failed = await line(set_up, "r1")
        assert (failed.code, failed.stderr_tail) == ("entry_point_failed", "the data are not there\n")
        assert "startup.py" in failed.reason
        (tmp_path / "broken").unlink()
        assert (await line(set_up, "r2")).status == "accepted"


@pytest.mark.parametrize("isolation", ["process", "worker"])
async def test_scripts_run_in_the_environment_that_the_package_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    index = index_of(tmp_path / "index", monkeypatch)
    monkeypatch.setattr(environment, "AGAIN_AFTER_S", 0.0)
    files = {
        "fedn.yaml": ENVIRONMENT_YAML.format(isolation=isolation),
        "train.py": RARE,
        "requirements.txt": "rare==1.0\n",
    }
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await stage(laid, tmp_path, files)
        set_up.live(env_dir=tmp_path / "envs")
        await set_up.attached()
        failed = await line(set_up, "r1")
        assert failed.code == "environment_failed"
        assert "No matching distribution found for rare==1.0" in failed.stderr_tail
        wheel(index, "rare", "1.0", "NUMBER = 9\n")
        assert dict((await line(set_up, "r2")).metrics) == {"rare": 9}
        await set_up.die()
        set_up.live(env=False)  # the client's own Python does not have it
        await set_up.attached()
        assert "No module named 'rare'" in (await line(set_up, "r3")).stderr_tail
