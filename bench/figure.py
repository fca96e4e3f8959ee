"""What a benchmark returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value beside what it should be; without a target it is there to compare with."""

    name: str
    value: float
    unit: str
    target: float | None = None
    more_is_better: bool = False
    note: str = ""

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
