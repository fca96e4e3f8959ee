"""YAML files whose values know their line, so that an error can point at it.

Only plain data is read (mappings, lists, scalars): no tags that build objects, no aliases, no duplicate keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fedn.errors import ConfigInvalid

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16


@dataclass(frozen=True)
class Node:
    """A value and where it stands: text, number, bool, None, a list of nodes or a mapping of nodes."""

    source: str
    line: int
    value: object

    def wrong(self, reason: str) -> ConfigInvalid:
        """The error that points here."""
        return ConfigInvalid(f"{self.source}:{self.line}: {reason}")

    def mapping(self, name: str, known: Collection[str] | None = None) -> Mapping[str, Node]:
        """The entries of a mapping. ConfigInvalid when it is none, or has a key that is not `known`."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"{name}: expected a mapping, found {in_words(self.value)}")
        entries: dict[str, Node] = self.value
        for key, entry in entries.items():
            if known is not None and key not in known:
                raise entry.wrong(f"unknown key {key!r}{nearest(key, known)}")
        return entries

    def text(self, name: str) -> str:
        """A text that is not empty. Raises ConfigInvalid."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong(f"{name}: expected text, found {in_words(self.value)}")
        return self.value


def nearest(word: str, known: Collection[str]) -> str:
    """``; did you mean 'rounds'?``, or what is known when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def in_words(value: object) -> str:
    """A found value as an error names it."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            shown = repr(value)
            return shown if len(shown) <= 60 else shown[:57] + "..."


def read_yaml(path: Path) -> Node:
    """The file's document; an empty file is an empty mapping. Raises ConfigInvalid."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path}: {error.strerror}") from error
    return parse_yaml(content, source=str(path))


def parse_yaml(content: bytes, *, source: str) -> Node:
    """The document in `content`, which errors call `source`. Raises ConfigInvalid."""
    if len(content) > MAX_BYTES:
        raise ConfigInvalid(f"{source}: larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
        _refuse_traps(text, source)
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            return Node(source, 1, {}) if root is None else _node(loader, root, source)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigInvalid(f"{source}{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{source}: not a YAML text in UTF-8") from error


def _refuse_traps(text: str, source: str) -> None:
    """Aliases and depth can make a small text huge; events are read one by one, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigInvalid(f"{source}:{line}: aliases are not supported")
        if getattr(event, "tag", None) is not None:
            raise ConfigInvalid(f"{source}:{line}: tags are not supported")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigInvalid(f"{source}:{line}: nested deeper than {MAX_DEPTH} levels")


def _node(loader: yaml.SafeLoader, node: yaml.Node, source: str) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return Node(source, line, _entries(loader, node, source))
    if isinstance(node, yaml.SequenceNode):
        return Node(source, line, [_node(loader, item, source) for item in node.value])
    return Node(source, line, _scalar(loader, node, source))


def _entries(loader: yaml.SafeLoader, node: yaml.MappingNode, source: str) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _node(loader, key_node, source).value
        if not isinstance(key, str):
            raise ConfigInvalid(f"{source}:{line}: expected a key that is text, found {in_words(key)}")
        if key in entries:
            raise ConfigInvalid(f"{source}:{line}: {key!r} stands here twice; first in line {entries[key].line}")
        # An entry's line is its key's: that is where a reader looks.
        entries[key] = Node(source, line, _node(loader, value_node, source).value)
    return entries


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, source: str) -> object:
    try:
        value: object = loader.construct_object(node)
    except ValueError as error:
        raise ConfigInvalid(f"{source}:{node.start_mark.line + 1}: cannot read {in_words(node.value)}") from error
    return value
