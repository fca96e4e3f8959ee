"""What to do about a project that failed, in the words of its own files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fedn.errors import FednError, TaskFailed
from fedn.package.ignore import Ignore
from fedn.package.project import Project

MODULE = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE)
NO_FILE = re.compile(r"^FileNotFoundError: .*No such file or directory: '([^']+)'", re.MULTILINE)
ON_THE_USERS_MACHINE = ("init_model", "build")

# Where a module is not called what is installed
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "PyYAML"}

BY_CODE = {
    "environment_failed": "correct the file that python_env names; or try the scripts in this Python: --no-env",
    "entry_point_missing": "correct the command in fedn.yaml",
    "command_missing": "correct the command in fedn.yaml; a script must be in the package, a program on the client",
    "entry_point_killed": "often memory: a smaller batch_size needs less",
    "output_invalid": "save with fedn.model.helpers; metrics are numbers",
    "bad_num_examples": "give helper.save (in train) and helper.save_metrics (in validate) the number of examples, "
    "not of batches: num_examples=len(labels)",
    "non_finite": "the training diverged: lower the learning rate, clip gradients, or look for NaN in the data",
    "schema_mismatch": "train must save the tensors that it was given, with the same names, shapes and dtypes; "
    "if the model was changed on purpose, init_model must write the new one too",
    "task_timeout": "give it longer with --time-limit, or less to do",
}


def advice(error: FednError, project: Project, *, own_python: bool) -> str | None:
    """What the user can do; None where the script's own last words must do.

    `own_python`: the scripts ran in this Python, not in an environment of theirs.
    """
    tail = str(error.detail.get("stderr_tail", ""))
    found = next(_of_stderr(error, tail, project, own_python), None) or _of_output(error)
    if found is not None or error.code in BY_CODE:
        return found or BY_CODE[error.code]
    return None if isinstance(error, TaskFailed) else type(error).remedy


def _of_stderr(error: FednError, tail: str, project: Project, own_python: bool) -> Iterator[str]:
    """What the last words of the script tell."""
    for module in MODULE.findall(tail)[-1:]:
        top = module.partition(".")[0]
        yield _left_behind(project, f"{top}.py") or _not_installed(error, top, project, own_python)
    for name in NO_FILE.findall(tail)[-1:]:
        left = _left_behind(project, name)
        if left is not None:
            yield left


def _not_installed(error: FednError, module: str, project: Project, own_python: bool) -> str:
    wanted, asked = DISTRIBUTIONS.get(module, module), project.manifest.python_env
    where = None if asked is None else (project.package_dir / asked).relative_to(project.folder.resolve())
    if own_python or error.reason.startswith(ON_THE_USERS_MACHINE):
        install = f"pip install {wanted}" if where is None else f"pip install -r {where}"
        return f"{wanted} is not installed in this Python: {install}"
    return f"{wanted} is not installed in the environment: add it to {where}"


def _left_behind(project: Project, name: str) -> str | None:
    """The file is there, but not in the package."""
    if Path(name).is_absolute():
        return None
    inside, beside = project.package_dir / name, project.folder / name
    if inside.is_file():
        relative = inside.resolve().relative_to(project.package_dir).as_posix()
        if Ignore.of(project.package_dir).matches(relative, folder=False):
            return f"{name} is named in .fednignore, so it is not in the package: take it out of there"
        return None
    if beside.is_file() and project.folder.resolve() != project.package_dir:
        folder = project.package_dir.name
        return f"only the folder {folder}/ travels, and {name} lies beside it: move it to {folder}/"
    return None


def _of_output(error: FednError) -> str | None:
    if error.code != "output_missing":
        return None
    if "metadata" in error.reason:
        return (
            "call helper.save(model_out, model, num_examples=len(labels)) in train: it writes <model-out>-metadata too"
        )
    return "the last argument of a script is the path to write to: sys.argv[-1]"
