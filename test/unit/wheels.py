"""Wheels that are made here, and a pip that finds nothing else: no test of an environment needs the network."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest


def index_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that pip can find: hollow wheels in the place of what fedn itself needs, and what a test adds."""
    folder.mkdir()
    wheel(folder, "numpy", "2.0.0")
    wheel(folder, "ml_dtypes", "0.5.0")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, version: str, content: str = "", *, requires: str = "") -> Path:
    """A wheel with one module."""
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(entry, text)
    return path
