"""What a benchmark returns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value beside what it should be; without a target it is there to compare with.

    `samples` are what the value is the median of. A figure that belongs to a row of others, as their number of clients
    grows, says which `series` it is of, and where: at how many `clients`.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    more_is_better: bool = False
    note: str = ""
    samples: tuple[float, ...] = ()
    series: str = ""
    clients: int | None = None

    @property
    def ratio(self) -> float | None:
        """The value in targets; None where there is none, or it is zero."""
        return self.value / self.target if self.target else None

    @property
    def holds(self) -> bool:
        """True when the target is met, or there is none."""
        if self.target is None:
            return True
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    @property
    def title(self) -> str:
        """Its name, and where it belongs."""
        at = () if self.clients is None else (f"{self.clients:,} clients",)
        return ", ".join((self.name, *([self.series] if self.series else []), *at))


def of_samples(
    name: str,
    samples: Sequence[float],
    unit: str,
    target: float | None = None,
    *,
    more_is_better: bool = False,
    note: str = "",
    series: str = "",
    clients: int | None = None,
) -> Figure:
    """The median of the samples."""
    value = statistics.median(samples)
    return Figure(name, value, unit, target, more_is_better, note, tuple(samples), series, clients)
