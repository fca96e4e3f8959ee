"""Compiles the kernel of the fold (`fedn/aggregation/kernel.c`) into a wheel; without a compiler it is pure Python.

``CC`` names the compiler, with options if need be; else it is ``cc``. With ``FEDN_REQUIRE_KERNEL=1`` a build without
the kernel fails. `pip install -e .` leaves the library in the source tree, beside its source.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE, LIBRARY = "fedn/aggregation/kernel.c", "fedn/aggregation/libkernel.so"
# every operation rounded by itself: the sums must have numpy's bits
OPTIONS = ["-O3", "-std=c99", "-ffp-contract=off", "-fno-fast-math", "-fPIC", "-shared", "-fvisibility=hidden"]


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling for every wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile, and say of the wheel what it is."""
        root = Path(self.root)
        failure = compiled(root / SOURCE, root / LIBRARY)
        if failure is None:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data.update(pure_python=False, tag=f"py3-none-{platform}")
            build_data["artifacts"].append(LIBRARY)
        elif os.environ.get("FEDN_REQUIRE_KERNEL") == "1":
            raise RuntimeError(f"the kernel was not compiled: {failure}")
        else:
            self.app.display_warning(f"without the compiled kernel, numpy folds: {failure}")


def compiled(source: Path, library: Path) -> str | None:
    """Compile the kernel; returns why not, if so, and then there is no library, not even an older one."""
    library.unlink(missing_ok=True)
    part = library.with_suffix(f".{os.getpid()}.so")
    command = [*shlex.split(os.environ.get("CC", "").strip() or "cc"), *OPTIONS, "-o", str(part), str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            return f"{shlex.join(command)} ended with {done.returncode}\n{done.stderr.strip()}"
        part.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        part.unlink(missing_ok=True)
    return None
