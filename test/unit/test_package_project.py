from __future__ import annotations

from pathlib import Path

import pytest

from fedn.errors import ConfigInvalid, NoEntryPoint
from fedn.package.entry_point import EntryPoint
from fedn.package.project import Manifest, load_project

WHOLE = """\
name: digits
package: code
init_model: python init_model.py --hidden "6 4"
python_env: env.txt
target: {accuracy: 0.97}
entry_points:
  train: python train.py
  validate:
    command: python validate.py
    isolation: worker
    max_tasks: 50
    max_memory_mb: 900
"""


def project(folder: Path, text: str) -> Path:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "env.txt").touch()
    (folder / "fedn.yaml").write_text(text)
    return folder


def test_a_whole_project(tmp_path: Path) -> None:
    loaded = load_project(project(tmp_path, WHOLE))
    assert (loaded.name, loaded.folder, loaded.package_dir) == ("digits", tmp_path, tmp_path / "code")
    assert loaded.init_model == ("python", "init_model.py", "--hidden", "6 4")
    assert loaded.entry_points == {
        "train": EntryPoint(("python", "train.py")),
        "validate": EntryPoint(("python", "validate.py"), "worker", max_tasks=50, max_memory_mb=900),
    }
    assert (loaded.manifest.python_env, loaded.manifest.target) == ("env.txt", {"accuracy": 0.97})
    assert Manifest.read(tmp_path).entry_points == loaded.entry_points


def test_client_travels_if_it_is_there_else_the_whole_folder(tmp_path: Path) -> None:
    text = "name: a\nentry_points: {train: ./train}\n"
    assert load_project(project(tmp_path, text)).package_dir == tmp_path
    (tmp_path / "client").mkdir()
    assert load_project(tmp_path).package_dir == tmp_path / "client"


def test_the_templates_of_this_repository_load() -> None:
    for name in ("digits", "mnist", "mnist-pytorch", "cifar10", "cifar10-keras"):
        loaded = load_project(Path(__file__).parents[1] / name)
        assert {"train", "validate"} <= set(loaded.entry_points) <= {"train", "validate", "predict"}
        assert loaded.init_model


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: a\nentry_point: {train: x}\n", ":2: unknown key 'entry_point'; did you mean 'entry_points'?"),
        (
            "name: a\nentry_points:\n  train: x\n  vlidate: y\n",
            ":4: unknown entry point 'vlidate'; did you mean 'validate'?",
        ),
        ("name: a\nentry_points:\n  train: {comand: x}\n", ":3: unknown key 'comand'; did you mean 'command'?"),
        ("name: a\nentry_points:\n  train: {}\n", ":3: train: the key 'command' is missing"),
        ("name: a\nentry_points:\n  train: 5\n", ":3: train: expected text, found 5"),
        ("name: a\nentry_points:\n  train: [x]\n", ":3: train: expected text, found a list"),
        ("name: a\nentry_points:\n  train: ''\n", ":3: train: expected text, found ''"),
        ('name: a\nentry_points:\n  train: "\'open"\n', ":3: train: cannot read the command: No closing quotation"),
        ("name: a\nentry_points:\n  train: \"''\"\n", ":3: train: expected a command, found \"''\""),
        ("name: a\nentry_points:\n  validate: x\n", ":2: there is no entry point 'train'"),
        ("name: a\nentry_points: train\n", ":2: entry_points: expected a mapping, found 'train'"),
        ("name: a\n", ":1: the key 'entry_points' is missing"),
        (
            "name: a\nentry_points:\n  train: {command: x, isolation: proces}\n",
            ":3: train: isolation: expected one of process, worker, inline; did you mean 'process'?",
        ),
        (
            "name: a\nentry_points:\n  train: {command: ./x, isolation: worker}\n",
            ":3: train: isolation: worker wants a command `python script.py`, not './x'",
        ),
        (
            "name: a\nentry_points:\n  train: {command: python x.py, max_tasks: 3}\n",
            ":3: train: max_tasks is for isolation: worker; here it is process",
        ),
        (
            "name: a\nentry_points:\n  train: {command: python x.py, isolation: worker, max_tasks: 0}\n",
            ":3: train: max_tasks: expected a whole number of at least 1, found 0",
        ),
        ("name: a\npython_env: ../x\nentry_points: {train: x}\n", ":2: python_env: expected the path of a file"),
        ("name: a\npython_env: x.txt\nentry_points: {train: x}\n", ":2: python_env: there is no file 'x.txt'"),
        (
            "name: a\nentry_points:\n  train: {command: python x.py, isolation: inline}\npython_env: x.txt\n",
            ":4: python_env: train is isolated inline, in the client's own Python: choose process or worker",
        ),
        ("name: a\ntarget: {acc: high}\nentry_points: {train: x}\n", ":2: target: acc: expected a number"),
        ("name: ../a\nentry_points: {train: x}\n", ":1: name: expected letters"),
        ("name: 5\nentry_points: {train: x}\n", ":1: name: expected text, found 5"),
        ("- name\n", ":1: the project: expected a mapping, found a list"),
        ("name: a\npackage: ..\nentry_points: {train: x}\n", ":2: package: '..' is outside the project"),
        ("name: a\npackage: /\nentry_points: {train: x}\n", ":2: package: '/' is outside the project"),
        ("name: a\npackage: none\nentry_points: {train: x}\n", ":2: package: there is no folder 'none'"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises((ConfigInvalid, NoEntryPoint)) as caught:
        load_project(project(tmp_path, text))
    assert caught.value.reason.startswith(f"{tmp_path / 'fedn.yaml'}{reason}")


@pytest.mark.parametrize(("folder", "name"), [("mine", "mine"), ("mine/client", "mine"), ("_", "package")])
def test_a_project_without_a_name_is_called_after_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "fedn.yaml").write_text("entry_points: {train: x}\n")
    assert load_project(tmp_path / folder).name == name


def test_a_client_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "client").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigInvalid, match="outside the project"):
        load_project(project(tmp_path / "in", "name: a\nentry_points: {train: x}\n"))


def test_a_folder_without_fedn_yaml_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"there is no fedn\.yaml"):
        load_project(tmp_path)
