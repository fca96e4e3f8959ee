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

# the layout of a project's client folder: fedn.yaml among the scripts, helpers by name, lists of arrays
PROJECT = {
    "fedn.yaml": """
python_env: python_env.yaml
entry_points:
  build:
    command: python model.py
  startup:
    command: python data.py
  train:
    command: python train.py
  validate:
    command: python validate.py
""",
    "python_env.yaml": "name: line\nbuild_dependencies:\n  - pip\ndependencies:\n  - numpy\n",
    "data.py": """
import numpy as np

def load_data():
    x = np.linspace(0, 1, 24, dtype=np.float32).reshape(12, 2)
    return x, x @ np.float32([2, -1]) + 3
""",
    "model.py": """
import numpy as np
from IMPORT import get_helper

HELPER_MODULE = "numpyhelper"
helper = get_helper(HELPER_MODULE)

def compile_model():
    return [np.zeros(2, np.float32), np.zeros((), np.float32), np.int64(0)]

def save_parameters(model, out_path):
    helper.save(model, out_path)

def load_parameters(model_path):
    return helper.load(model_path)

def init_seed(out_path="seed.npz"):
    save_parameters(compile_model(), out_path)

if __name__ == "__main__":
    init_seed("../seed.npz")
""",
    "train.py": """
import sys
from data import load_data
from model import load_parameters, save_parameters
from IMPORT import save_metadata

def train(in_model_path, out_model_path, data_path=None, lr=0.1, epochs=200):
    x, y = load_data()
    w, b, steps = load_parameters(in_model_path)
    for _ in range(epochs):
        error = x @ w + b - y
        w, b, steps = w - lr * (error @ x) / len(y), b - lr * error.mean(), steps + 1
    metadata = {"num_examples": len(x), "batch_size": len(x), "epochs": epochs, "lr": lr, "optimizer": "gd"}
    save_metadata(metadata, out_model_path)
    save_parameters([w, b, steps], out_model_path)

if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
""",
    "validate.py": """
import sys
from data import load_data
from model import load_parameters
from IMPORT import save_metrics

def validate(in_model_path, out_json_path, data_path=None):
    x, y = load_data()
    w, b, _ = load_parameters(in_model_path)
    report = {"training_loss": ((x @ w + b - y) ** 2).mean(), "test_loss": 0.5}
    save_metrics(report, out_json_path)

if __name__ == "__main__":
    validate(sys.argv[1], sys.argv[2])
""",
}


def test_a_project_of_0_33_builds_trains_and_validates(tmp_path: Path) -> None:
    client = tmp_path / "project" / "client"
    client.mkdir(parents=True)
    for name, text in PROJECT.items():
        (client / name).write_text(text.replace("IMPORT", "fedn.model.helpers.v0").lstrip())
    project = load_project(client)

    def run(entry_point: str, *paths: Path) -> None:
        _, *words = project.entry_points[entry_point].command
        subprocess.run([sys.executable, *words, *map(str, paths)], cwd=project.package_dir, check=True)

    run("build")
    run("startup")
    seed, out = tmp_path / "project" / "seed.npz", tmp_path / "out"
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
