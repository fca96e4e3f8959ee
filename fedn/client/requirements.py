"""What a compute package's `python_env` asks for, as pip is told it.

Two kinds of file: pip's own requirements file, or a python_env.yaml as upstream FEDn 0.33 has it::

    name: mnist                  # not used
    build_dependencies: [pip]    # installed first
    dependencies: [torch==2.4]   # installed then
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from fedn.errors import ConfigInvalid, EnvironmentFailed
from fedn.yaml_file import MAX_BYTES, Node, in_words, read_yaml

KEYS = ("name", "build_dependencies", "dependencies")
NEEDED_BY_HELPERS = ("ml-dtypes", "numpy")  # what `fedn` imports in a script; their versions are in its metadata
MAX_DEPTH = 8
COMMENT = re.compile(r"(^|\s)#.*$")
# `fedn`, `fedn[torch]==0.33`, `fedn @ …`, `-e ../fedn`, `git+https://…/fedn.git@main`, `…#egg=fedn`
NAMES_FEDN = re.compile(
    r"fedn\s*(\[[^]]*\])?\s*($|[=<>!~;@,\s])|\S*(/|#egg=)fedn(\.git)?/?(\[[^]]*\])?($|[@#;&\s])|\S*/fedn-[^/]*\.(whl|tar\.gz)",
    re.IGNORECASE,
)
FIND_LINKS = ("-f", "--find-links")
OPTION = re.compile(r"(-r|--requirement|-c|--constraint|-f|--find-links)(?:\s*=\s*|\s+|(?<=-\w))(\S.*)")


@dataclass(frozen=True)
class Requirements:
    """What pip installs: `first` before all else, then `lines`; `arguments` are for its command line.

    Paths are relative to the package's folder. `left_out` are the lines that name fedn, each with its file and line.
    """

    lines: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_requirements(folder: Path, python_env: str) -> Requirements:
    """The requirements in the file `python_env` of a package's folder. Raises ConfigInvalid, naming file and line."""
    if python_env.endswith((".yaml", ".yml")):
        return _of_yaml(folder, python_env)
    return _of_text(folder, python_env, "python_env", 0)


def with_own(asked: Requirements) -> Requirements:
    """The requirements and those of fedn itself, so that one resolution holds for both."""
    return replace(asked, lines=(*own_requirements(), *asked.lines))


def own_requirements() -> list[str]:
    """What fedn needs in a user's script, from fedn's own metadata. Raises EnvironmentFailed."""
    try:
        declared = metadata.requires("fedn") or []
    except metadata.PackageNotFoundError:
        raise EnvironmentFailed("fedn is not installed in this Python, so what it needs is not known") from None
    plain = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower(): line for line in declared if "extra ==" not in line}
    return [plain[name] for name in NEEDED_BY_HELPERS]


def _of_yaml(folder: Path, name: str) -> Requirements:
    root = read_yaml(folder / name)
    entries = root.mapping("python_env", KEYS)
    left_out: list[str] = []

    def kept(key: str) -> Iterator[str]:
        for node in _items(entries[key], key) if key in entries else ():
            line = node.text(key).strip()
            if _names_fedn(line):
                left_out.append(f"{node.source}:{node.line}: {line}")
            elif "\n" in line:
                raise node.wrong(f"{key}: expected one line, found {line[:60]!r}")
            else:
                yield line

    first, lines = tuple(kept("build_dependencies")), tuple(kept("dependencies"))
    return Requirements(lines, first, (), tuple(left_out))


def _items(node: Node, key: str) -> list[Node]:
    if not isinstance(node.value, list):
        raise node.wrong(f"{key}: expected a list, found {in_words(node.value)}")
    return node.value


def _of_text(folder: Path, name: str, asked_at: str, depth: int) -> Requirements:
    """A requirements file, with those that it includes in their place."""
    found = Requirements()
    source = str(folder / name)
    for number, line in _logical_lines(folder / name, asked_at):
        where = f"{source}:{number}"
        option = OPTION.fullmatch(line)
        if _names_fedn(line):
            found = replace(found, left_out=(*found.left_out, f"{where}: {line}"))
        elif option is None or "://" in option[2] or (option[1] in FIND_LINKS and option[2].startswith("/")):
            found = replace(found, lines=(*found.lines, line))
        elif option[1].lstrip("-").startswith("r"):
            if depth == MAX_DEPTH:
                raise ConfigInvalid(f"{where}: requirements files include one another deeper than {MAX_DEPTH} levels")
            included = _of_text(folder, _beside(name, option[2], where), where, depth + 1)
            found = Requirements(
                found.lines + included.lines,
                found.first,
                found.arguments + included.arguments,
                found.left_out + included.left_out,
            )
        else:
            # pip would look for it beside the file that it is given, which is not this one
            found = replace(found, arguments=(*found.arguments, option[1], _beside(name, option[2], where)))
    return found


def _beside(name: str, path: str, where: str) -> str:
    """A path that a requirements file names, relative to the package's folder."""
    parts: list[str] = []
    for part in (Path(name).parent / path.strip().strip("'\"")).parts:
        if (part == ".." and not parts) or part == "/":
            raise ConfigInvalid(f"{where}: {path[:80]!r} is outside the package")
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts) or "."


def _names_fedn(line: str) -> bool:
    bare = re.sub(r"^(-e|--editable)(\s+|=)", "", line)
    return not bare.startswith("-") and NAMES_FEDN.match(bare) is not None


def _logical_lines(path: Path, asked_at: str) -> Iterator[tuple[int, str]]:
    """Each requirement with the number of its first line: without comments, and continued lines in one."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigInvalid(f"{asked_at}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{asked_at}: {path}: not a text in UTF-8") from error
    if len(content) > MAX_BYTES:
        raise ConfigInvalid(f"{asked_at}: {path}: larger than {MAX_BYTES} bytes")
    begun, held = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        begun = begun if held else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += line[:-1] + " "
            continue
        whole, held = COMMENT.sub("", held + line).strip(), ""
        if whole:
            yield begun, whole
