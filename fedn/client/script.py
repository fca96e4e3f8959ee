"""Running ``python script.py …`` in a Python that runs already, as if it had just been started for it.

Standard library only: a worker of the package's own environment loads this file alone.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def run_script(words: Sequence[str], *, cwd: str, environ: Mapping[str, str]) -> int:
    """Run ``script.py argument …`` as ``__main__`` in the folder `cwd`; returns the exit code it would have had.

    Modules stay imported from one run to the next; the script's own globals do not.
    """
    script = str(Path(cwd) / words[0])
    with _surroundings([script, *words[1:]], cwd, environ):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            return _exit_code(leaving.code)
        except BaseException as error:  # noqa: BLE001 - the script's, and said as its own process would
            _report(error)
            return 1
        finally:
            _flush()
    return 0


@contextlib.contextmanager
def _surroundings(argv: list[str], cwd: str, environ: Mapping[str, str]) -> Iterator[None]:
    """What a new process would have been given; all of it is as before when the block ends."""
    argv_before, path_before, environ_before, folder_before = sys.argv, sys.path[:], dict(os.environ), _folder()
    try:
        sys.argv, sys.path[:] = argv, [str(Path(argv[0]).parent), *sys.path]
        os.chdir(cwd)
        _set_environ(environ)
        yield
    finally:
        sys.argv, sys.path[:] = argv_before, path_before
        os.chdir(folder_before)
        _set_environ(environ_before)


def _folder() -> str:
    """The working folder; the root, if it was deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return os.sep


def _set_environ(environ: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)


def _exit_code(code: object) -> int:
    """As the interpreter reads ``sys.exit(code)``: nothing is 0, a number is itself, words go to stderr."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _report(error: BaseException) -> None:
    """The traceback, without the lines of this file and of runpy."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
