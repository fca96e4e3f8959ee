"""What the sandbox says at its end: the target, the time, the memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fedn.cli import memory
from fedn.cli.live import memory_in_words
from fedn.cli.memory import PeakMemory
from fedn.cli.target import Target, clock, in_words

MIB = 2**20


def session(*accuracies: float | None) -> dict[str, Any]:
    measured = [{} if value is None else {"accuracy": value, "loss": 1.0} for value in accuracies]
    return {"rounds": [{"round": k, "validation": line} for k, line in enumerate(measured, 1)]}


def test_a_target_is_reached_in_the_first_round_that_has_it() -> None:
    target = Target({"accuracy": 0.9})
    target.look(session(0.5, None), 1.0)
    assert target.as_json() == {"accuracy": {"wanted": 0.9, "round": None, "value": None, "seconds": None}}
    assert list(in_words(target.as_json())) == ["[yellow]target accuracy ≥ 0.9 was not reached[/]"]
    target.look(session(0.5, 0.9), 61.5)
    target.look(session(0.5, 0.9, 0.95), 99.0)
    assert target.as_json() == {"accuracy": {"wanted": 0.9, "round": 2, "value": 0.9, "seconds": 61.5}}
    assert list(in_words(target.as_json())) == [
        "[green]target accuracy ≥ 0.9[/] reached in round 2 (0.9000) after 1:01 min"
    ]


def test_without_a_target_nothing_is_said() -> None:
    target = Target({})
    target.look(session(0.5), 1.0)
    assert target.as_json() == {}
    assert list(in_words({})) == []


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00 min"), (3661, "61:01 min")]
)
def test_a_time_is_short(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_the_peak_memory_of_a_process_and_of_those_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EVERY_S", 0.0)
    child = "import sys; data = bytearray(80 * 2**20); print('child', flush=True); sys.stdin.read()"
    parent = (
        "import subprocess, sys; data = bytearray(30 * 2**20)\n"
        f"both = [subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE) for _ in range(2)]\n"
        "sys.stdin.read(); [p.communicate() for p in both]"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.read(12) == b"child\nchild\n"
        peak = PeakMemory(process.pid)
        peak.look()
        process.stdin.close()
    assert 35 * MIB < peak.own < 80 * MIB
    assert 85 * MIB < peak.largest_descendant < 120 * MIB
    assert 170 * MIB < peak.descendants_together < 240 * MIB
    peak.look()  # nobody is left, and it does not matter
    assert peak.largest_descendant > 85 * MIB
    result = {"memory": peak.as_json(), "rounds": [1, 2], "wall_s": 3.0}
    assert next(memory_in_words(result)).startswith("2 rounds in 3.0 s; peak memory: the pool process ")
