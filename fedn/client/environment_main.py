"""Makes one virtual environment, in a process of its own: `fedn.client.environment` starts it and reads its stderr.

::

    lock (waits for another builder) ─▶ there and marked ready? ─▶ nothing to do
                                             │ no
                                             ▼
                 what is there is removed ─▶ venv ─▶ fedn linked ─▶ pip ─▶ marked ready
                                                                     │ failed: removed, exit code 1

Standard library only. pip inherits the lock, so it is held as long as anybody writes into the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from fedn.client.environment_lock import held, ready_file

PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-user", "--progress-bar", "off")


def main(folder: Path, spec: Path) -> int:
    """Make the environment that the file `spec` describes."""
    with held(folder, wait=True) as lock:
        if ready_file(folder).exists():
            return 0
        asked = json.loads(spec.read_text())
        try:
            exit_code = make(folder, asked, lock)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if exit_code:
            shutil.rmtree(folder, ignore_errors=True)
            return 1
        ready_file(folder).touch()
        return 0


def make(folder: Path, asked: dict[str, list[str]], lock: int) -> int:
    """Make the environment in its place, which it cannot leave; the exit code of the pip that failed, or 0."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, symlinks=True).create(folder)
    package, version = asked["fedn"]
    link_fedn(folder, package, version)
    limits = folder / "limits.txt"
    limits.write_text(f"fedn=={version}\n")  # a plugin that wants another is refused, rather than given upstream's
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    for name, lines, arguments in (("first", asked["first"], []), ("then", asked["lines"], asked["arguments"])):
        if not lines:
            continue
        file = folder / f"{name}.txt"
        file.write_text("\n".join(lines) + "\n")
        command = [str(folder / "bin" / "python"), *PIP, *arguments, "-c", str(limits), "-r", str(file)]
        # pip says on stdout what a conflict is caused by, and people are shown the end of stderr
        exit_code = subprocess.run(command, check=False, env=environ, stdout=sys.stderr, pass_fds=[lock]).returncode
        if exit_code:
            return exit_code
    return 0


def link_fedn(folder: Path, package: str, version: str) -> None:
    """Let the environment see the client's own fedn, and nothing else of what stands beside it; pip sees it, too."""
    beside = folder / "fedn"
    beside.mkdir()
    (beside / "fedn").symlink_to(package)
    of_this_python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = folder / "lib" / of_this_python / "site-packages"
    (site_packages / "fedn.pth").write_text(f"{beside}\n")
    described = site_packages / f"fedn-{version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fedn\nVersion: {version}\n")
    (described / "INSTALLER").write_text("fedn\n")
    (described / "RECORD").write_text("")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(*map(Path, sys.argv[1:])))
