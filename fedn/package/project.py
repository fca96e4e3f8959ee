"""A project folder and its fedn.yaml.

::

    name: digits                         # optional; default: the folder's name
    package: client                      # the folder that travels; default: client if there is one, else "."
    init_model: python init_model.py     # optional; run as: <command> <model-out>, in the project's folder
    python_env: requirements.txt         # optional; what the clients' virtual environment gets; in the package
    target: {accuracy: 0.97}             # optional; what the sandbox reports as reached, and in which round
    entry_points:
      build: python build.py             # optional; run on the user's machine before the package is made
      startup: python startup.py         # optional; run once on each client, before its first task
      train: python train.py             # run as: <command> <model-in> <model-out>
      validate: python validate.py       # optional; run as: <command> <model-in> <metrics-out.json>
      predict: python predict.py         # optional; run as: <command> <model-in> <predictions-out.json>

An entry point may be a mapping too, which says how it is isolated: `fedn.package.entry_point`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from fedn.errors import ConfigInvalid, NoEntryPoint
from fedn.package.entry_point import Command, EntryPoint, read_command, read_entry_point
from fedn.yaml_file import Node, nearest, parse_yaml, read_yaml

FILE = "fedn.yaml"
KEYS = ("name", "package", "init_model", "python_env", "target", "entry_points")
ENTRY_POINTS = ("build", "startup", "train", "validate", "predict")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
UNNAMED = "package"


@dataclass(frozen=True)
class Manifest:
    """What fedn.yaml says. It travels with the package. `python_env` is a path in the package folder."""

    name: str | None
    package: str | None
    init_model: Command | None
    python_env: str | None
    target: Mapping[str, float]
    entry_points: Mapping[str, EntryPoint]

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of an unpacked package or a project. Raises ConfigInvalid."""
        return _manifest(read_yaml(folder / FILE))

    @staticmethod
    def parse(content: bytes, *, source: str = FILE) -> Manifest:
        """The manifest in these bytes. Raises ConfigInvalid."""
        return _manifest(parse_yaml(content, source=source))


@dataclass(frozen=True)
class Project:
    """A project folder: `package_dir` is what travels, the rest stays."""

    name: str
    folder: Path
    package_dir: Path
    manifest: Manifest

    @property
    def init_model(self) -> Command | None:
        """The command that writes the seed model."""
        return self.manifest.init_model

    @property
    def entry_points(self) -> Mapping[str, EntryPoint]:
        """The entry points by name."""
        return self.manifest.entry_points


def load_project(path: Path) -> Project:
    """The project in the folder `path`. Raises ConfigInvalid, naming file, line and key."""
    folder = path.expanduser().absolute()
    if not (folder / FILE).is_file():
        raise ConfigInvalid(f"{path} is not a project: there is no {FILE} in it")
    root = read_yaml(folder / FILE)
    manifest = _manifest(root)
    package_dir = _package_dir(folder, manifest, root)
    if manifest.python_env is not None and not (package_dir / manifest.python_env).is_file():
        where = root.mapping(FILE)["python_env"]
        raise where.wrong(f"python_env: there is no file {manifest.python_env!r} in the package folder {package_dir}")
    return Project(manifest.name or _name_of(folder), folder, package_dir, manifest)


def _name_of(folder: Path) -> str:
    """A name for a project that gives itself none; `client` folders are called after what they lie in."""
    real = folder.resolve()
    name = real.parent.name if real.name == "client" else real.name
    return name if NAME.fullmatch(name) else UNNAMED


def _package_dir(folder: Path, manifest: Manifest, root: Node) -> Path:
    name = manifest.package or ("client" if (folder / "client").is_dir() else ".")
    where = root.mapping(FILE).get("package", root)
    package_dir = (folder / name).resolve()
    if not package_dir.is_relative_to(folder.resolve()):
        raise where.wrong(f"package: {name!r} is outside the project")
    if not package_dir.is_dir():
        raise where.wrong(f"package: there is no folder {name!r}")
    return package_dir


def _manifest(root: Node) -> Manifest:
    entries = root.mapping("the project", KEYS)
    if "entry_points" not in entries:
        raise NoEntryPoint(root.wrong("the key 'entry_points' is missing").reason)
    name, package, init_model = entries.get("name"), entries.get("package"), entries.get("init_model")
    python_env, target = entries.get("python_env"), entries.get("target")
    entry_points = _entry_points(entries["entry_points"])
    return Manifest(
        name=_name(name) if name else None,
        package=package.text("package") if package else None,
        init_model=read_command(init_model, "init_model") if init_model else None,
        python_env=_python_env(python_env, entry_points) if python_env else None,
        target=_target(target) if target else MappingProxyType({}),
        entry_points=entry_points,
    )


def _name(node: Node) -> str:
    name = node.text("name")
    if not NAME.fullmatch(name):
        words = "letters, digits, '.', '_' and '-', at most 63"
        raise node.wrong(f"name: expected {words}, found {name[:80]!r}")
    return name


def _python_env(node: Node, entry_points: Mapping[str, EntryPoint]) -> str:
    path = node.text("python_env")
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise node.wrong(f"python_env: expected the path of a file in the package folder, found {path[:80]!r}")
    for name, entry in entry_points.items():
        if entry.isolation == "inline":
            reason = f"{name} is isolated inline, in the client's own Python: choose process or worker"
            raise node.wrong(f"python_env: {reason}")
    return path


def _target(node: Node) -> Mapping[str, float]:
    targets = {}
    for metric, entry in node.mapping("target").items():
        value = entry.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise entry.wrong(f"target: {metric}: expected a number, found {value!r}")
        targets[metric] = float(value)
    return MappingProxyType(targets)


def _entry_points(node: Node) -> Mapping[str, EntryPoint]:
    entry_points = node.mapping("entry_points")
    for name, entry in entry_points.items():
        if name not in ENTRY_POINTS:
            raise entry.wrong(f"unknown entry point {name!r}{nearest(name, ENTRY_POINTS)}")
    if "train" not in entry_points:
        raise NoEntryPoint(node.wrong("there is no entry point 'train'").reason)
    return MappingProxyType({name: read_entry_point(entry, name) for name, entry in entry_points.items()})
