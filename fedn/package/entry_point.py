"""An entry point of fedn.yaml: its command, and in what kind of process it runs.

::

    train: python train.py         # the short form: a fresh process per task
    validate:
      command: python validate.py
      isolation: worker            # process (default), worker or inline: docs/isolation.md says which and why
      max_tasks: 100               # worker: a new one takes its place after so many tasks …
      max_memory_mb: 4096          # … or when, at the end of a task, it holds more than this (resident, MiB)
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from fedn.yaml_file import Node, nearest

Command: TypeAlias = tuple[str, ...]
Isolation = Literal["process", "worker", "inline"]

ISOLATIONS = cast(tuple[Isolation, ...], get_args(Isolation))
KEYS = ("command", "isolation", "max_tasks", "max_memory_mb")
PYTHONS = ("python", "python3")


@dataclass(frozen=True)
class EntryPoint:
    """One command of a compute package. `max_tasks` and `max_memory_mb` recycle a worker; None: whatever it holds."""

    command: Command
    isolation: Isolation = "process"
    max_tasks: int = 100
    max_memory_mb: int | None = None


def read_entry_point(node: Node, name: str) -> EntryPoint:
    """An entry point given as text or as a mapping. Raises ConfigInvalid, naming file and line."""
    if not isinstance(node.value, dict):
        return EntryPoint(read_command(node, name))
    entries = node.mapping(name, KEYS)
    if "command" not in entries:
        raise node.wrong(f"{name}: the key 'command' is missing")
    command = read_command(entries["command"], name)
    isolation = _isolation(entries["isolation"], name, command) if "isolation" in entries else "process"
    for key in ("max_tasks", "max_memory_mb"):
        if key in entries and isolation != "worker":
            raise entries[key].wrong(f"{name}: {key} is for isolation: worker; here it is {isolation}")
    limits = {key: _count(entries[key], f"{name}: {key}") for key in ("max_tasks", "max_memory_mb") if key in entries}
    return EntryPoint(command, isolation, **limits)


def read_command(node: Node, name: str) -> Command:
    """The words of a command. Raises ConfigInvalid, naming file and line."""
    try:
        words = tuple(shlex.split(node.text(name)))
    except ValueError as error:
        raise node.wrong(f"{name}: cannot read the command: {error}") from error
    if not words or not words[0] or any("\0" in word for word in words):
        raise node.wrong(f"{name}: expected a command, found {node.value!r}")
    return words


def is_python_script(command: Command) -> bool:
    """Whether it is ``python script.py …``, which a running Python can run as well as a new one."""
    return len(command) > 1 and command[0] in PYTHONS and command[1].endswith(".py")


def _isolation(node: Node, name: str, command: Command) -> Isolation:
    given = node.text(f"{name}: isolation")
    if given not in ISOLATIONS:
        raise node.wrong(f"{name}: isolation: expected one of {', '.join(ISOLATIONS)}{nearest(given, ISOLATIONS)}")
    if given != "process" and not is_python_script(command):
        raise node.wrong(f"{name}: isolation: {given} wants a command `python script.py`, not {shlex.join(command)!r}")
    return given


def _count(node: Node, name: str) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < 1:
        raise node.wrong(f"{name}: expected a whole number of at least 1, found {node.value!r}")
    return node.value
