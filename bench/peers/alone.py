"""One peer, measured in a process that owns every process of it: `python -m bench.peers.alone` reads what from stdin.

It adopts whatever its programs leave orphaned, and kills all of it when the work is done, has failed, or takes longer
than its limit.
"""

from __future__ import annotations

import json
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from bench.peers.stage import PeerFailedError, Stage, Work
from fedn.cli.descendants import adopt_orphans, kill_descendants


class TimeIsUpError(BaseException):
    """Nobody below may take it for an error of the peer."""


def main() -> None:
    """Measure, and write what came of it as JSON to the named file."""
    asked = json.load(sys.stdin)
    adopt_orphans()
    signal.signal(signal.SIGALRM, _up)
    signal.signal(signal.SIGTERM, _up)
    try:
        found = _measure(asked)
    finally:
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
        error = f"stopped after {asked['limit_s']} s; {said}"
    except PeerFailedError as failed:
        error = str(failed)
    except Exception as failed:  # noqa: BLE001 - the outermost loop: a peer never breaks the benchmark
        error = f"{type(failed).__name__}: {failed}"
    finally:
        signal.alarm(0)
    return {"seconds": seconds, "peak_mb": stage.watch.peak_mb(), "error": error}


def _up(_number: int, _frame: FrameType | None) -> None:
    raise TimeIsUpError


if __name__ == "__main__":
    main()
