"""What a script says beside its model; and what importing a helper costs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.errors import BadNumExamples, OutputInvalid
from fedn.model.helpers import numpy as helper


def test_metrics_without_num_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadNumExamples, match="without num_examples"):
        helper.save(tmp_path / "m", {"w": np.ones(1)}, metrics={"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_metric_cannot_be_called_num_examples(tmp_path: Path) -> None:
    with pytest.raises(OutputInvalid, match="given twice"):
        helper.save_metrics(tmp_path / "v.json", {"num_examples": 3}, num_examples=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "high", None])
def test_a_metric_that_is_no_finite_number_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    with pytest.raises(OutputInvalid, match="metric 'loss' is"):
        helper.save_metrics(tmp_path / "v.json", {"loss": value}, num_examples=1)
    assert not (tmp_path / "v.json").exists()


def test_a_helper_imports_nothing_of_the_network() -> None:
    program = "import sys; from fedn.model.helpers import numpy; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"grpc", "httpx", "click", "rich", "yaml", "flask", "torch", "sklearn", "keras", "tensorflow", "asyncio"}
    assert heavy.isdisjoint(loaded)
    assert "importlib.metadata" not in loaded
