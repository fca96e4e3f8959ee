"""When a session reached what its project's fedn.yaml calls its target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Target:
    """Metrics that are to become at least so large; notes the first round in which each is."""

    def __init__(self, wanted: Mapping[str, float]) -> None:
        self._wanted = wanted
        self._reached: dict[str, dict[str, Any]] = {}

    def look(self, session: Mapping[str, Any], elapsed_s: float) -> None:
        """The session as it stands so long after its start."""
        for metric, wanted in self._wanted.items():
            for line in session["rounds"]:
                value = line["validation"].get(metric)
                if metric not in self._reached and value is not None and value >= wanted:
                    self._reached[metric] = {"round": line["round"], "value": value, "seconds": elapsed_s}

    def as_json(self) -> dict[str, Any]:
        """By metric: what was wanted, and the round (None: never), value and seconds at which it was reached."""
        never = {"round": None, "value": None, "seconds": None}
        return {
            metric: {"wanted": wanted} | self._reached.get(metric, never) for metric, wanted in self._wanted.items()
        }


def in_words(target: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line per metric."""
    for metric, found in target.items():
        if found["round"] is None:
            yield f"[yellow]target {metric} ≥ {found['wanted']:g} was not reached[/]"
        else:
            reached = f"reached in round {found['round']} ({found['value']:.4f}) after {clock(found['seconds'])}"
            yield f"[green]target {metric} ≥ {found['wanted']:g}[/] {reached}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min" if seconds >= 60 else f"{seconds:.1f} s"
