"""Projects written for FEDn 0.33: they run when one import line is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedn.client.outputs import read_metadata, read_metrics
from fedn.errors import BadNumExamples, HelperUnknown, OutputInvalid, SchemaMismatch
from fedn.model.helpers import numpy as numpy_helper
from fedn.model.helpers.v0 import get_helper, load_metadata, save_metadata, save_metrics
from fedn.model.safetensors import open_model
from fedn.package.project import load_project
from test.project_of_0_33 import write_project


def test_a_project_of_0_33_builds_trains_and_validates(tmp_path: Path) -> None:
    project = load_project(write_project(tmp_path))

    def run(entry_point: str, *paths: Path) -> None:
        _, *words = project.entry_points[entry_point].command
        subprocess.run([sys.executable, *words, *map(str, paths)], cwd=project.package_dir, check=True)

    run("build")
    run("startup")
    seed, out = tmp_path / "line" / "seed.npz", tmp_path / "out"
    run("train", seed, out)
    assert open_model(out).schema == open_model(seed).schema
    metadata = read_metadata(tmp_path / "out-metadata")
    assert metadata.num_examples == 12
    assert metadata.metrics == {"batch_size": 12, "epochs": 200, "lr": 0.1}
    losses = {}
    for name, model in {"before": seed, "after": out}.items():
        run("validate", model, tmp_path / name)
        losses[name] = read_metrics(tmp_path / name).metrics["training_loss"]
    assert losses["after"] < losses["before"] / 10


def test_arrays_come_back_in_order(tmp_path: Path) -> None:
    """In the order of the list, not of the names as text: 10 comes after 9."""
    arrays = [np.full(k, k, np.float32) for k in range(12)] + [np.array(3), np.zeros((0, 2), np.float16)]
    helper = get_helper("numpyhelper")
    assert helper.save(arrays, str(tmp_path / "m")) == str(tmp_path / "m")
    loaded = helper.load(str(tmp_path / "m"))
    assert [(a.dtype, a.tolist()) for a in loaded] == [(a.dtype, a.tolist()) for a in arrays]


def test_a_model_that_is_no_list_is_refused(tmp_path: Path) -> None:
    numpy_helper.save(tmp_path / "m", {"0": np.ones(1), "w": np.ones(1)})
    with pytest.raises(SchemaMismatch, match="holds no tensor '1'"):
        get_helper("numpyhelper").load(tmp_path / "m")


def test_another_helper_is_refused() -> None:
    with pytest.raises(HelperUnknown, match=r"there is no helper 'kerashelper' of FEDn 0\.33 here, only 'numpyhelper'"):
        get_helper("kerashelper")


def test_metadata_comes_back(tmp_path: Path) -> None:
    save_metadata({"num_examples": np.int64(4), "lr": np.float32(0.5), "optimizer": "sgd"}, str(tmp_path / "m"))
    assert load_metadata(str(tmp_path / "m")) == {"num_examples": 4, "lr": 0.5, "optimizer": "sgd"}


@pytest.mark.parametrize("metadata", [{}, {"num_examples": 0}, {"num_examples": 2.5}])
def test_metadata_without_a_number_of_examples_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises(BadNumExamples):
        save_metadata(metadata, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.ones(2), object()])
def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(OutputInvalid):
        save_metrics({"loss": value}, tmp_path / "v.json")
    assert list(tmp_path.iterdir()) == []


def test_metrics_may_tell_the_number_of_examples(tmp_path: Path) -> None:
    save_metrics({"loss": np.float64(0.25), "num_examples": 7}, tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == {"loss": 0.25, "num_examples": 7}
