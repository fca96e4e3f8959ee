"""The test project cifar10 (PyTorch), run as a client runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fedn.model.safetensors import load_tensors
from test.unit.project_copies import Project, data_folder, num_examples, schema

IN_SHORT = {"FEDN_PARTS": "20"}


@pytest.fixture
def cifar10(tmp_path: Path) -> Project:
    folder = data_folder("cifar10/data_batch_1.bin.gz", "cifar10/test_batch_1000.bin.gz")
    return Project("cifar10", tmp_path, FEDN_DATA_DIR=str(folder), **IN_SHORT)


def test_cifar10_trains_on_its_part_and_a_worker_gives_the_same_bits(cifar10: Project) -> None:
    seed = cifar10.init_model()
    assert sum(array.size for array in load_tensors(seed).values()) == 62_006
    update = cifar10.train(seed, 1)
    assert schema(update) == schema(seed)
    assert num_examples(update) == 500
    _, first, again = cifar10.in_one_worker(seed, ("train.py", 0), ("train.py", 1), ("train.py", 1))
    assert first.read_bytes() == again.read_bytes() == update.read_bytes()
    metrics = cifar10.validate(update, 1)
    assert metrics["num_examples"] == 50
    assert 0 <= metrics["accuracy"] <= 1
    assert metrics["loss"] < 2.4


def test_cifar10_predicts_as_many_test_images_as_the_settings_say(cifar10: Project) -> None:
    predictions = cifar10.predict(cifar10.init_model(), 0, settings={"predict_images": 7})
    assert len(predictions["classes"]) == 7
    assert set(predictions["classes"]) < {
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    }  # fmt: skip


def test_cifar10_refuses_a_setting_it_does_not_know(cifar10: Project) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cifar10.train(cifar10.init_model(), 0, settings={"momentums": 1})
    assert "unknown client settings ['momentums']" in refused.value.stderr
