"""The seed model and what is built before the package is made: in the right order, once, and without secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedn.cli import seed
from fedn.cli.main import cli
from fedn.cli.seed import build_package, write_seed
from fedn.client.environment import Python
from fedn.errors import BadInput, EntryPointFailed, EntryPointMissing, TaskTimeout
from fedn.package.archive import inspect
from fedn.package.project import Project, load_project

NOTE = """\
import os, pathlib, sys
with open(pathlib.Path(__file__).with_name("notes"), "a") as notes:
    notes.write(f"{sys.argv[0]} {len(sys.argv) - 1} {os.environ['FEDN_SESSION_SEED']} {os.getcwd()}\\n")
"""
WRITE = NOTE + "pathlib.Path(sys.argv[1]).write_text('seed')\n"
# As in a project for FEDn 0.33: it lies in the package folder and writes beside it, whatever it is told.
WRITE_0_33 = "open('../seed.npz', 'w').write('weights')\n"
BUILD = "entry_points: {build: python build.py, train: python train.py}\n"


def project(folder: Path, files: dict[str, str]) -> Project:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return load_project(folder)


def notes(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_build_runs_in_the_package_folder_and_before_init_model(tmp_path: Path) -> None:
    both = {
        "p/fedn.yaml": "init_model: python init_model.py\n" + BUILD,
        "p/client/build.py": NOTE + "open('made', 'w').close()\n",
        "p/init_model.py": WRITE.replace("import os", "assert __import__('os').path.exists('client/made'); import os"),
    }
    project(tmp_path, {**both, "fedn.yaml": BUILD})
    write_seed(load_project(tmp_path / "p"), tmp_path / "seed", seed=7)
    assert (tmp_path / "seed").read_text() == "seed"
    assert notes(tmp_path / "p/client/notes") == [f"build.py 0 7 {tmp_path / 'p/client'}"]
    assert notes(tmp_path / "p/notes") == [f"init_model.py 1 7 {tmp_path / 'p'}"]


def test_build_writes_the_seed_model_of_a_project_without_init_model(tmp_path: Path) -> None:
    made = project(tmp_path / "p", {"fedn.yaml": BUILD, "build.py": WRITE})
    write_seed(made, tmp_path / "seed", seed=3)
    assert (tmp_path / "seed").read_text() == "seed"
    assert notes(tmp_path / "p/notes") == [f"build.py 1 3 {tmp_path / 'p'}"]


def of_0_33(folder: Path, build: str = WRITE_0_33) -> Project:
    """fedn.yaml inside client/, as FEDn 0.33's example projects have it."""
    fedn_yaml = (
        "python_env: python_env.yaml\nentry_points:\n  build:\n    command: python model.py\n"
        "  startup:\n    command: python data.py\n  train:\n    command: python train.py\n"
    )
    files = {"fedn.yaml": fedn_yaml, "python_env.yaml": "name: mnist\ndependencies: [torch]\n", "model.py": build}
    return project(folder / "mnist" / "client", files)


@pytest.mark.parametrize("where", ["seed.npz", "../seed.npz"])
def test_the_seed_of_a_project_for_0_33_is_found_where_it_was_written(tmp_path: Path, where: str) -> None:
    made = of_0_33(tmp_path, WRITE_0_33.replace("../seed.npz", where))
    write_seed(made, tmp_path / "seed", seed=3)
    assert made.name == "mnist"
    assert (tmp_path / "seed").read_text() == "weights"


def test_a_seed_that_was_there_before_is_not_taken(tmp_path: Path) -> None:
    made = of_0_33(tmp_path, "pass\n")
    (tmp_path / "mnist" / "seed.npz").write_text("of last week")
    with pytest.raises(EntryPointFailed, match="build ended well but did not write the seed model"):
        write_seed(made, tmp_path / "seed", seed=3)
    assert not (tmp_path / "seed").exists()


def test_the_package_holds_what_build_made_and_no_seed_model(tmp_path: Path) -> None:
    build = NOTE + "open('made.txt', 'w').write('x')\nopen(sys.argv[1], 'w').close()\n"
    made = project(tmp_path / "p", {"fedn.yaml": BUILD, "build.py": build, "train.py": "pass\n"})
    digest = build_package(made, tmp_path / "package.tar")
    names = [name for name, _ in inspect(tmp_path / "package.tar").files]
    assert names == ["build.py", "fedn.yaml", "made.txt", "notes", "train.py"]
    assert notes(tmp_path / "p/notes") == [f"build.py 1 42 {tmp_path / 'p'}"]
    assert digest == inspect(tmp_path / "package.tar").digest


def test_package_create_runs_build_once(tmp_path: Path) -> None:
    project(tmp_path / "p", {"fedn.yaml": BUILD, "build.py": WRITE, "train.py": "pass\n"})
    done = CliRunner().invoke(cli, ["package", "create", str(tmp_path / "p"), "-o", str(tmp_path / "x.tar"), "--json"])
    assert json.loads(done.output)["file"] == str(tmp_path / "x.tar")
    assert len(notes(tmp_path / "p/notes")) == 1


def test_a_build_that_fails_is_said_with_its_stderr(tmp_path: Path) -> None:
    made = project(tmp_path / "p", {"fedn.yaml": BUILD, "build.py": "raise SystemExit('no weights today')\n"})
    for run in (lambda: write_seed(made, tmp_path / "seed", seed=1), lambda: build_package(made, tmp_path / "x.tar")):
        with pytest.raises(
            EntryPointFailed, match=r"build: `python build\.py` ended with exit code 1: no weights today"
        ) as failed:
            run()
        assert "no weights today" in failed.value.detail["stderr_tail"]
    assert not (tmp_path / "x.tar").exists()


def test_what_cannot_be_run_is_named(tmp_path: Path) -> None:
    yaml = "init_model: pyhton init.py\nentry_points: {train: python train.py}\n"
    with pytest.raises(EntryPointMissing, match=r"init_model: cannot run .pyhton.: No such file"):
        write_seed(project(tmp_path / "p", {"fedn.yaml": yaml}), tmp_path / "seed", seed=1)
    neither = project(tmp_path / "q", {"fedn.yaml": "entry_points: {train: python train.py}\n"})
    with pytest.raises(BadInput, match="names neither init_model nor the entry point build"):
        write_seed(neither, tmp_path / "seed", seed=1)


def test_scripts_are_shown_no_token(tmp_path: Path) -> None:
    script = "import os, sys\nassert not [name for name in os.environ if 'TOKEN' in name]\nopen(sys.argv[1], 'w')\n"
    made = project(tmp_path / "p", {"fedn.yaml": BUILD, "build.py": script})
    write_seed(made, tmp_path / "seed", seed=1, environ={"FEDN_ALLIANCE_ADMIN_AUTH_TOKEN": "secret"})


def test_the_scripts_run_by_the_python_of_the_environment(tmp_path: Path) -> None:
    """A project's own Python: here a wrapper that leaves a trace."""
    wrapper = tmp_path / "python-of-its-own"
    wrapper.write_text(f'#!/bin/sh\necho "$VIRTUAL_ENV" >> {tmp_path}/trace\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    python = Python(str(wrapper), tmp_path / "root")
    files = {"fedn.yaml": "init_model: python init_model.py\n" + BUILD, "build.py": NOTE, "init_model.py": WRITE}
    write_seed(project(tmp_path / "p", files), tmp_path / "seed", seed=1, python=python)
    assert notes(tmp_path / "trace") == [str(tmp_path / "root")] * 2


def test_a_script_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "LIMIT_S", 0.5)
    files = {"fedn.yaml": "init_model: python init_model.py\nentry_points: {train: x}\n"}
    hangs = "import sys, time; print('begun', file=sys.stderr, flush=True); sys.stdin.read(); time.sleep(600)"
    with pytest.raises(TaskTimeout, match=r"init_model: .* was stopped"):
        write_seed(project(tmp_path / "p", files | {"init_model.py": hangs}), tmp_path / "seed", seed=1)
