"""The same work on other systems, each as it is deployed: real processes, its own environment, loopback, no TLS.

`measure("flower-1.41", clients=10, megabytes=100, rounds=3, folder=scratch)` gives its rounds' seconds, or what went
wrong. Each peer's module says how its rounds are timed. A round whose model is not the average of every client's update
is an error, not a figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers.environments import PLACE, environment
from bench.peers.stage import PeerFailedError
from fedn.cli.descendants import descendants

ROOT = Path(__file__).parents[2]  # of the packages bench and fedn
GRACE_S = 20.0  # for a measurement to end by itself once its limit is over
TAIL_LETTERS = 800


@dataclass(frozen=True)
class Peer:
    """A module with `run(work, stage)` that gives each round's seconds, and the version that the requirements pin."""

    module: str
    version: str
    installs: bool = True


PEERS = {
    "flower-1.28": Peer("bench.peers.flower", "1.28.0"),
    "flower-1.41": Peer("bench.peers.flower", "1.41.0"),
    "nvflare-2.9": Peer("bench.peers.nvflare", "2.9.0"),
    "fedn-0.33": Peer("bench.peers.fedn_old", "0.33.0"),
}


@dataclass(frozen=True)
class PeerResult:
    """Seconds of each round, without start-up; the most megabytes (10^6 bytes, RssAnon), of the server and of a client.

    With an error the seconds are empty.
    """

    name: str
    version: str
    seconds: list[float] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def limit_of(*, clients: int, megabytes: float, rounds: int) -> int:
    """Seconds after which a measurement is stopped: several times what the slowest peer took."""
    return int(150 + rounds * (30 + 0.2 * clients * megabytes))


def measure(
    name: str,
    *,
    clients: int,
    megabytes: float,
    rounds: int,
    folder: Path,
    environments: Path = PLACE,
    limit_s: int | None = None,
) -> PeerResult:
    """Run the work on a peer in a new `folder / name`. What goes wrong is in the result, with the peer's message.

    Its environment is in `environments / name`, and is made there when it is missing.
    """
    peer, place = PEERS[name], (folder / name).absolute()
    limit = limit_s or limit_of(clients=clients, megabytes=megabytes, rounds=rounds)
    try:
        installed = environment(name, environments.absolute()) if peer.installs else Path(sys.prefix)
        place.mkdir(parents=True)
        asked = {
            "module": peer.module,
            "environment": str(installed),
            "folder": str(place),
            "result": str(place / "result.json"),
            "limit_s": limit,
            "parent": os.getpid(),
            "work": {"clients": clients, "megabytes": megabytes, "rounds": rounds},
        }
        found = _alone(asked, place, limit)
    except (PeerFailedError, OSError) as failed:
        return PeerResult(name, peer.version, error=str(failed))
    return PeerResult(name, peer.version, **found)


def _alone(asked: dict[str, object], place: Path, limit: int) -> dict[str, Any]:
    """In a process that owns all that the peer starts. It keeps the limit itself; we are there if it cannot."""
    log, result = place / "measurement.log", place / "result.json"
    words = [sys.executable, "-m", "bench.peers.alone"]
    with log.open("w") as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(json.dumps(asked).encode(), timeout=limit + GRACE_S)
        finally:
            _end(process)
    if not result.exists():
        ended = f"the measurement ended with exit code {process.returncode}"
        raise PeerFailedError(f"{ended}: {log.read_text().strip()[-TAIL_LETTERS:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, which ends all that it owns; else end these first, for they would be nobody's without it."""
    if process.poll() is not None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    while process.poll() is None and (below := [pid for pid in descendants(process.pid) if runs(pid)]):
        _kill(*below)
    _kill(process.pid)
    process.wait()


def runs(pid: int) -> bool:
    """False for one that has ended, also when its parent has not taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
