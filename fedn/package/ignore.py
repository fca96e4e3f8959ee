"""`.fednignore`: what does not travel. One glob per line, in the manner of .gitignore.

A pattern without a slash matches a name at any depth; one with a slash matches the path from the package folder;
one that ends in a slash matches folders only. ``#`` begins a comment. There is no negation.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from fedn.errors import ConfigInvalid

FILE = ".fednignore"
ALWAYS = ("/" + FILE, "__pycache__/", ".git", ".hg/", ".venv/", ".fedn/", "*.pyc", ".DS_Store")


@dataclass(frozen=True)
class Ignore:
    """The patterns of one package folder, and those that always hold."""

    patterns: tuple[str, ...]

    @staticmethod
    def of(folder: Path) -> Ignore:
        """Read the folder's .fednignore, if there is one. Raises ConfigInvalid, naming file and line."""
        path, patterns = folder / FILE, list(ALWAYS)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, line in enumerate(map(str.strip, lines), start=1):
            if line.startswith("!"):
                raise ConfigInvalid(f"{path}:{number}: {line!r}: negation is not supported")
            if line and not line.startswith("#"):
                patterns.append(line)
        return Ignore(tuple(patterns))

    def matches(self, name: str, *, folder: bool) -> bool:
        """Whether this path, relative to the package folder with ``/``, stays at home."""
        return any(_matches(pattern, name, folder=folder) for pattern in self.patterns)


def _matches(pattern: str, name: str, *, folder: bool) -> bool:
    if pattern.endswith("/") and not folder:
        return False
    pattern = pattern.rstrip("/")
    if "/" in pattern:
        return fnmatchcase(name, pattern.lstrip("/"))
    return fnmatchcase(name.rpartition("/")[2], pattern)
