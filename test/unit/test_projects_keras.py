"""The test projects in Keras, mnist and cifar10-keras, run as a warm worker runs them.

TensorFlow is imported once for all scripts of a test: that alone takes seconds.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fedn.model.safetensors import load_tensors
from test.unit.project_copies import Project, data_folder, num_examples, schema

FEW = {"FEDN_PARTS": "500"}  # 120 images of MNIST, 20 of CIFAR-10's excerpt: a few steps
EAGERLY = "import sys; sys.path.insert(0, '.'); import model, tensorflow; tensorflow.config.run_functions_eagerly(True)"


@pytest.mark.parametrize(
    ("name", "needed", "parameters", "examples"),
    [
        ("mnist", "mnist/train-images-idx3-ubyte.gz", 27_562, (120, 20)),
        ("cifar10-keras", "cifar10/data_batch_1.bin.gz", 106_122, (20, 2)),
    ],
)
def test_keras_project_trains_its_part_and_each_task_is_as_if_it_were_the_first(
    name: str, needed: str, parameters: int, examples: tuple[int, int], tmp_path: Path
) -> None:
    project = Project(name, tmp_path, FEDN_DATA_DIR=str(data_folder(needed)), **FEW)
    seed = project.init_model()
    assert sum(array.size for array in load_tensors(seed).values()) == parameters
    tasks = (("train.py", 1), ("train.py", 0), ("train.py", 1), ("validate.py", 1))
    update, other, again, metrics_file = project.in_one_worker(seed, *tasks, first=EAGERLY)  # tracing takes longer
    assert schema(update) == schema(seed)
    assert num_examples(update) == examples[0]
    assert update.read_bytes() == again.read_bytes() != other.read_bytes()
    metrics = json.loads(metrics_file.read_text())
    assert metrics["num_examples"] == examples[1]
    assert metrics["loss"] > 0
    assert 0 <= metrics["accuracy"] <= 1


def test_keras_projects_refuse_a_setting_before_they_read_data(tmp_path: Path) -> None:
    project = Project("mnist", tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        project.train(tmp_path / "none", 0, settings={"epoch": 1})
    known = ["alpha", "batch_size", "epochs", "learning_rate", "split"]
    assert refused.value.stderr == f"unknown client settings ['epoch']; there are {known}\n"
