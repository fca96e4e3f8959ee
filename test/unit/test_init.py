"""`fedn init`: what it writes, and where it writes nothing."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fedn.cli.init import FRAMEWORKS, TEMPLATES
from fedn.cli.main import cli
from fedn.errors import BadInput, FolderUnusable
from fedn.package.archive import create, inspect
from fedn.package.project import load_project

FILES = {
    "README.md",
    "fedn.yaml",
    "init_model.py",
    "test_project.py",
    "client/.fednignore",
    "client/data.py",
    "client/model.py",
    "client/predict.py",
    "client/requirements.txt",
    "client/settings.py",
    "client/train.py",
    "client/validate.py",
}


def init(folder: Path, framework: str, *options: str) -> Any:
    return CliRunner().invoke(cli, ["init", str(folder), "--framework", framework, *options])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_framework_has_a_template_and_each_template_a_framework() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == {*FRAMEWORKS, "common"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_project_holds_all_that_its_readme_names(tmp_path: Path, framework: str) -> None:
    done = init(tmp_path / "new", framework)
    assert done.exit_code == 0, (done.output, done.exception)
    assert files(tmp_path / "new") == FILES
    readme = (tmp_path / "new" / "README.md").read_text()
    assert readme.startswith("# new\n")
    assert FRAMEWORKS[framework] in readme
    assert not [name for name in FILES if name != "README.md" and name.rpartition("/")[2] not in readme]
    project = load_project(tmp_path / "new")
    assert project.name == "new"
    assert set(project.entry_points) == {"train", "validate", "predict"}
    assert project.manifest.target == {"accuracy": 0.9}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_only_the_client_folder_travels(tmp_path: Path, framework: str) -> None:
    init(tmp_path / "new", framework)
    (tmp_path / "new" / "client" / "patients.npz").touch()
    create(load_project(tmp_path / "new"), tmp_path / "package.tar")
    sent = {name for name, _ in inspect(tmp_path / "package.tar").files}
    assert sent == {
        "fedn.yaml",
        *(name.removeprefix("client/") for name in FILES if name.startswith("client/") and ".fednignore" not in name),
    }


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_only_a_heavy_framework_is_kept_warm(framework: str) -> None:
    entry_points = load_project_of(framework).entry_points
    wanted = "worker" if framework in ("keras", "torch") else "process"
    assert {entry.isolation for entry in entry_points.values()} == {wanted}


def load_project_of(framework: str) -> Any:
    return load_project(TEMPLATES / framework)


def test_a_project_can_be_given_a_name(tmp_path: Path) -> None:
    assert init(tmp_path / "new", "numpy", "--name", "heart-rate").exit_code == 0
    assert load_project(tmp_path / "new").name == "heart-rate"
    assert (tmp_path / "new" / "README.md").read_text().startswith("# heart-rate\n")
    refused = init(tmp_path / "other", "numpy", "--name", "heart rate")
    assert isinstance(refused.exception, BadInput)
    assert not (tmp_path / "other").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = init(tmp_path, "torch")
    assert isinstance(refused.exception, BadInput)
    assert "not empty" in refused.exception.reason
    assert files(tmp_path) == {"notes.txt"}
    refused = init(tmp_path / "notes.txt", "torch")
    assert isinstance(refused.exception, FolderUnusable)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_folder_will_do_and_so_will_the_one_we_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert CliRunner().invoke(cli, ["init", ".", "--framework", "sklearn"]).exit_code == 0
    assert files(tmp_path / "here") == FILES
    assert (tmp_path / "here" / "README.md").read_text().startswith("# here\n")


def test_it_says_what_to_do_next_with_paths_that_a_shell_reads(tmp_path: Path) -> None:
    said = init(tmp_path / "my project", "keras").output
    commands = [line.strip().partition("   #")[0].strip() for line in said.splitlines()[1:]]
    assert [command.split()[:2] for command in commands] == [["pip", "install"], ["fedn", "run"], ["fedn", "sandbox"]]
    assert all(f"'{tmp_path / 'my project'}" in command for command in commands)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], Any]:
    """What the data.py of all templates gives a part: images and labels, to train or to test on."""
    data = runpy.run_path(str(TEMPLATES / "common" / "client" / "data.py"))

    def load(kind: str, part: int, parts: int) -> Any:
        monkeypatch.setenv("FEDN_PART", str(part))
        monkeypatch.setenv("FEDN_PARTS", str(parts))
        return data[f"load_{kind}"]()

    return load


def test_parts_of_the_digits_are_disjoint_and_nothing_held_out_is_trained_on(load: Callable[..., Any]) -> None:
    given = [load(kind, part, 2) for part in range(2) for kind in ("train", "test")]
    assert sum(len(images) for images, _ in given) == 1797
    assert len({image.tobytes() for images, _ in given for image in images}) == 1797
    assert [len(labels) for _, labels in given] == [len(images) for images, _ in given]
    assert {image.dtype.name for image, _ in given} == {"float32"}


def test_a_client_too_many_is_told_so(load: Callable[..., Any]) -> None:
    with pytest.raises(SystemExit, match=r"this client has part 2 .*, but there are only 2 parts"):
        load("train", 2, 2)
