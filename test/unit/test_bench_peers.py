"""How peers are measured: with fake ones, since nothing is installed in a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.peers as peers
import bench.peers.__main__ as command
from bench.peers.clock import Tick, round_seconds
from bench.peers.environments import environment
from bench.peers.stage import PeerFailedError, Work
from test.system.network import until

WORK = Work(clients=3, megabytes=1, rounds=2)
WORKS = """
def run(work, stage):
    server = stage.start("server", ["bash", "-c", "echo ready; sleep 600 & sleep 600"], role="server")
    stage.until(lambda: "ready" in server.text, "the server is ready")
    return [float(work.clients)] * work.rounds
"""
FAILS = """
def run(work, stage):
    stage.start("server", ["bash", "-c", "echo no such database; exit 3"], role="server")
    stage.until(lambda: None, "the rounds are run", within=None)
"""
IS_BROKEN = """
def run(work, stage):
    return {}["rounds"]
"""
# its servers leave their session, and one its parent too
HANGS = """
def run(work, stage):
    words = "setsid sleep 600 & echo $! > pids; (setsid sleep 600 & echo $! >> pids); echo $$ >> pids; sleep 600"
    server = stage.start("server", ["bash", "-c", words], role="server")
    stage.until(lambda: None, "the rounds are run", within=None)
"""
# nothing that Python does ends it
IS_STUCK = """
import signal, time
def run(work, stage):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    server = stage.start("server", ["bash", "-c", "setsid sleep 600 & echo $! > pids; sleep 600"])
    time.sleep(600)
"""


def measured(
    source: str, place: Path, monkeypatch: pytest.MonkeyPatch, *, limit_s: int | None = None
) -> peers.PeerResult:
    (place / "fake_peer.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setitem(peers.PEERS, "fake", peers.Peer("fake_peer", "1.0", installs=False))
    return peers.measure("fake", clients=3, megabytes=1, rounds=2, folder=place / "scratch", limit_s=limit_s)


def left(place: Path) -> list[int]:
    """Which of the processes that the fake noted still run."""
    noted = [int(line) for line in (place / "scratch" / "fake" / "pids").read_text().split()]
    assert noted
    return [pid for pid in noted if peers.runs(pid)]


def test_a_peer_that_works_gives_its_rounds_and_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(WORKS, tmp_path, monkeypatch)
    assert (result.error, result.seconds, result.version) == (None, [3.0, 3.0], "1.0")


def test_a_peer_whose_server_ends_is_reported_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(FAILS, tmp_path, monkeypatch)
    assert result.seconds == []
    assert result.error == "while the rounds are run: server ended with exit code 3: no such database"


def test_a_peer_module_that_raises_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(IS_BROKEN, tmp_path, monkeypatch).error == "KeyError: 'rounds'"


def test_a_peer_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = measured(HANGS, tmp_path, monkeypatch, limit_s=1)
    assert result.error is not None
    assert result.error.startswith("stopped after at most 1 s")
    assert left(tmp_path) == []


def test_a_measurement_that_does_not_stop_itself_is_killed_with_all_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "GRACE_S", 0.5)
    result = measured(IS_STUCK, tmp_path, monkeypatch, limit_s=1)
    assert result.error is not None
    assert "exit code -9" in result.error
    assert left(tmp_path) == []


def test_a_benchmark_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "fake_peer.py").write_text(HANGS)
    code = (
        "from pathlib import Path; import bench.peers as peers;"
        "peers.PEERS['fake'] = peers.Peer('fake_peer', '1.0', installs=False);"
        "peers.measure('fake', clients=1, megabytes=1, rounds=1, folder=Path('scratch'))"
    )
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{peers.ROOT}"}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environ) as benchmark:
        try:
            noted = tmp_path / "scratch" / "fake" / "pids"
            until(lambda: noted.exists() and len(noted.read_text().split()) == 3, "the fake has started its processes")
        finally:
            benchmark.kill()
    until(lambda: not left(tmp_path), "all of them end")


def test_an_environment_that_cannot_be_made_is_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(name: str, place: Path) -> Path:
        raise PeerFailedError(f"not installed: {name}")

    monkeypatch.setattr(peers, "environment", cannot)
    result = peers.measure("nvflare-2.9", clients=1, megabytes=1, rounds=1, folder=tmp_path)
    assert result == peers.PeerResult("nvflare-2.9", "2.9.0", error="not installed: nvflare-2.9")


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def note(words: list[str]) -> None:
        ran.append(words)
        (tmp_path / "flower-1.41").mkdir(exist_ok=True)

    monkeypatch.setattr("bench.peers.environments._run", note)
    assert environment("flower-1.41", tmp_path) == tmp_path / "flower-1.41"
    made = len(ran)
    environment("flower-1.41", tmp_path)
    assert made == len(ran) == 2


def test_every_peer_has_pins_for_the_version_that_it_names() -> None:
    for name, peer in peers.PEERS.items():
        pins = (Path(peers.__file__).with_name("requirements") / f"{name}.txt").read_text()
        assert f"=={peer.version}\n" in pins


def test_a_round_that_is_not_the_average_of_all_is_refused() -> None:
    right = [Tick(1.0, 0, 0.0), Tick(2.0, 3, 2.0), Tick(4.0, 3, 4.0)]
    assert round_seconds(right, WORK) == [1.0, 2.0]
    for wrong in (Tick(4.0, 2, 4.0), Tick(4.0, 3, 3.0), Tick(4.0, 3, None)):
        with pytest.raises(PeerFailedError, match="round 2 averaged"):
            round_seconds([*right[:2], wrong], WORK)


def test_the_command_prints_a_table_and_writes_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "flower-1.41": peers.PeerResult("flower-1.41", "1.41.0", [3.0, 1.0, 2.0], {"server": 10.0, "client": 5.0}),
        "fedn-0.33": peers.PeerResult("fedn-0.33", "0.33.0", error="no such database"),
    }
    monkeypatch.setattr(command, "measure", lambda name, **_: given[name])
    words = ["--only", "flower-1.41", "--only", "fedn-0.33", "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(command.main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "2.00 s" in done.output
    assert "no such database" in done.output
    assert [each["error"] for each in json.loads((tmp_path / "out.json").read_text())] == [None, "no such database"]
