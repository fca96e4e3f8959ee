"""`fedn init`: a new project that works, to be changed into one's own."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from string import Template

import click

from fedn.errors import BadInput
from fedn.package.project import FILE, NAME
from fedn.storage.folder import prepare

TEMPLATES = Path(__file__).with_name("templates")
FRAMEWORKS = {"keras": "Keras", "torch": "PyTorch", "sklearn": "scikit-learn", "numpy": "NumPy"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--framework", type=click.Choice(list(FRAMEWORKS)), required=True, help="What the scripts train with.")
@click.option("--name", help="The project's name.  [default: the folder's]")
def init(folder: Path, framework: str, name: str | None) -> None:
    """Write a working project into the new FOLDER: model, training, validation, prediction, a test.

    \b
    Example:
      fedn init myproject --framework torch
    """
    if name is not None and not NAME.fullmatch(name):
        raise BadInput(f"--name wants letters, digits, '.', '_' and '-', at most 63, not {name[:80]!r}")
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty; a new project wants a new folder")
    write_project(folder, framework, name)
    for line in next_steps(folder):
        click.echo(line)


def write_project(folder: Path, framework: str, name: str | None) -> None:
    """The template's files, as they are but for the project's name. Raises FolderUnusable."""
    prepare(folder)
    words = {"name": name or folder.absolute().name, "framework": FRAMEWORKS[framework]}
    for source in sorted(file for kind in ("common", framework) for file in files_of(TEMPLATES / kind)):
        path = folder / Path(*source.relative_to(TEMPLATES).parts[1:])
        prepare(path.parent)
        content = source.read_text(encoding="utf-8")
        if path.name == "README.md":
            content = Template(content).substitute(words)
        if path.name == FILE and name is not None:
            content = f"name: {name}\n{content}"
        with path.open("x", encoding="utf-8") as file:
            file.write(content)


def files_of(folder: Path) -> list[Path]:
    """All files below a template's folder, but what Python leaves there."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def next_steps(folder: Path) -> list[str]:
    """What to do with the project, in three commands."""
    commands = {
        f"pip install -r {quote(str(folder / 'client' / 'requirements.txt'))}": "what the scripts import",
        f"fedn run local {quote(str(folder))} --no-env": "each script once, without a network",
        f"fedn sandbox {quote(str(folder))} --no-env": "a whole network on this machine",
    }
    width = max(map(len, commands))
    return [f"{folder} is a working project; its README says what to change. Next:"] + [
        f"  {command:<{width}}   # {what}" for command, what in commands.items()
    ]
