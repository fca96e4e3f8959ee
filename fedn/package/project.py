"""A project folder and its fedn.yaml.

::

    name: digits
    package: client                      # the folder that travels; default: client if there is one, else "."
    init_model: python init_model.py     # optional; run as: <command> <model-out>
    entry_points:
      train: python train.py             # run as: <command> <model-in> <model-out>
      validate: python validate.py       # optional; run as: <command> <model-in> <metrics-out.json>

An entry point may be a mapping ``{command: …}`` too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fedn.errors import ConfigInvalid
from fedn.yaml_file import Node, nearest, parse_yaml, read_yaml

FILE = "fedn.yaml"
KEYS = ("name", "package", "init_model", "entry_points")
ENTRY_POINTS = ("train", "validate")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Command = tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What fedn.yaml says. It travels with the package."""

    name: str
    package: str | None
    init_model: Command | None
    entry_points: Mapping[str, Command]

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
    init_model: Command | None
    entry_points: Mapping[str, Command]


def load_project(path: Path) -> Project:
    """The project in the folder `path`. Raises ConfigInvalid, naming file, line and key."""
    folder = path.expanduser().absolute()
    if not (folder / FILE).is_file():
        raise ConfigInvalid(f"{path} is not a project: there is no {FILE} in it")
    root = read_yaml(folder / FILE)
    manifest = _manifest(root)
    return Project(
        name=manifest.name,
        folder=folder,
        package_dir=_package_dir(folder, manifest, root),
        init_model=manifest.init_model,
        entry_points=manifest.entry_points,
    )


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
    for key in ("name", "entry_points"):
        if key not in entries:
            raise root.wrong(f"the key {key!r} is missing")
    name = entries["name"].text("name")
    if not NAME.fullmatch(name):
        words = "letters, digits, '.', '_' and '-', at most 63"
        raise entries["name"].wrong(f"name: expected {words}, found {name[:80]!r}")
    init_model = entries.get("init_model")
    package = entries.get("package")
    return Manifest(
        name=name,
        package=package.text("package") if package else None,
        init_model=_command(init_model, "init_model") if init_model else None,
        entry_points=_entry_points(entries["entry_points"]),
    )


def _entry_points(node: Node) -> Mapping[str, Command]:
    entry_points = node.mapping("entry_points")
    for name, entry in entry_points.items():
        if name not in ENTRY_POINTS:
            raise entry.wrong(f"unknown entry point {name!r}{nearest(name, ENTRY_POINTS)}")
    if "train" not in entry_points:
        raise node.wrong("there is no entry point 'train'")
    return MappingProxyType({name: _command(entry, name) for name, entry in entry_points.items()})


def _command(node: Node, name: str) -> Command:
    """The words of a command, given as text or as ``{command: text}``."""
    if isinstance(node.value, dict):
        entries = node.mapping(name, ("command",))
        if "command" not in entries:
            raise node.wrong(f"{name}: the key 'command' is missing")
        node = entries["command"]
    try:
        words = tuple(shlex.split(node.text(name)))
    except ValueError as error:
        raise node.wrong(f"{name}: cannot read the command: {error}") from error
    if not words or not words[0] or any("\0" in word for word in words):
        raise node.wrong(f"{name}: expected a command, found {node.value!r}")
    return words
