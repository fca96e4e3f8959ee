"""One peer, measured in a process that owns every process of it: `python -m bench.peers.alone` reads what from stdin.

It adopts whatever its programs leave orphaned, and kills all of it when the work is done, has failed, or takes longer
than its limit.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from bench.peers.stage import PeerFailedError, Stage, Work
from fedn.cli.descendants import adopt_orphans, kill_descendants

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class TimeIsUpError(BaseException):
    """Nobody below may take it for an error of the peer."""


def main() -> None:
    """Measure, and write what came of it as JSON to the named file."""
    asked = json.load(sys.stdin)
    adopt_orphans()
    end_with(asked["parent"])
    _on_end(_up)
    try:
        found = _measure(asked)
    finally:
        _on_end(signal.SIG_IGN)
        kill_descendants()
    Path(asked["result"]).write_text(json.dumps(found))


def _measure(asked: dict[str, Any]) -> dict[str, Any]:
    seconds: list[float] = []
    error = None
    stage = Stage(Path(asked["folder"]), Path(asked["environment"]))
    signal.alarm(asked["limit_s"])
    try:
        with stage:
            seconds = import_module(asked["module"]).run(Work(**asked["work"]), stage)
    except TimeIsUpError:
        said = "; ".join(f"{program.name}: {program.tail}" for program in stage.programs[:1])
        error = f"stopped after at most {asked['limit_s']} s; {said}"
    except PeerFailedError as failed:
        error = str(failed)
    except Exception as failed:  # noqa: BLE001 - the outermost loop: a peer never breaks the benchmark
        error = f"{type(failed).__name__}: {failed}"
    finally:
        signal.alarm(0)
    return {"seconds": seconds, "peak_mb": stage.watch.peak_mb(), "error": error}


def end_with(parent: int) -> None:
    """SIGTERM to us when the benchmark is gone, however it went. Linux only; else the limit has to do."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it went before we asked for the signal
        sys.exit(1)


def _on_end(act: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    signal.signal(signal.SIGALRM, act)
    signal.signal(signal.SIGTERM, act)


def _up(_number: int, _frame: FrameType | None) -> None:
    _on_end(signal.SIG_IGN)  # nothing interrupts the stopping
    raise TimeIsUpError


if __name__ == "__main__":
    main()
