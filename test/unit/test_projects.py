"""The test projects, run as a client runs them: each script a process, in its own copy of the package."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fedn.model.safetensors import load_tensors, write_model
from test.unit.project_copies import PROJECTS, Project, data_folder, num_examples, schema


@pytest.fixture
def digits(tmp_path: Path) -> Project:
    return Project("digits", tmp_path)


@pytest.fixture(scope="module")
def mnist_data() -> Path:
    return data_folder("mnist/train-images-idx3-ubyte.gz")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of this file keep unpacked data."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def mnist(tmp_path: Path, mnist_data: Path, unpacked: Path) -> Project:
    return Project("mnist-pytorch", tmp_path, FEDN_DATA_DIR=str(mnist_data), XDG_CACHE_HOME=str(unpacked))


@pytest.fixture
def scripts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The data.py of the project that the test names, imported as its scripts import it."""
    package = PROJECTS / request.param / "client"
    monkeypatch.syspath_prepend(str(package))
    spec = importlib.util.spec_from_file_location("data", package / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ── digits ────────────────────────────────────────────────────────────────────────────────────────


def test_digits_update_has_the_seed_models_schema_and_counts_examples(digits: Project) -> None:
    seed = digits.init_model()
    update = digits.train(seed, 0)
    assert schema(update) == schema(seed)
    assert {dtype for dtype, _ in schema(seed).values()} == {np.dtype(np.float32)}
    assert num_examples(update) == 287  # a fifth of 1,433
    assert any((load_tensors(update)[name] != array).any() for name, array in load_tensors(seed).items())


def test_digits_train_repeats_to_the_byte_with_and_without_its_cache(digits: Project) -> None:
    seed = digits.init_model()
    first = digits.train(seed, 1).read_bytes()
    assert (digits.folder / "client-1" / "digits.npz").exists()
    assert digits.train(seed, 1).read_bytes() == first
    assert digits.train(seed, 1, FEDN_SEED="8").read_bytes() != first
    assert digits.train(seed, 1, FEDN_SESSION_SEED="8").read_bytes() != first


def test_digits_federated_averaging_learns_in_three_rounds(digits: Project) -> None:
    model = digits.init_model()
    before = weighted(metrics := [digits.validate(model, part) for part in range(5)])
    assert sum(m["num_examples"] for m in metrics) == 364
    for round_number in range(3):
        updates = [digits.train(model, part, FEDN_SEED=f"{round_number}{part}") for part in range(5)]
        weights = [num_examples(update) for update in updates]
        assert sum(weights) == 1433
        tensors = [load_tensors(update) for update in updates]
        model = digits.folder / f"model-{round_number}"
        write_model(
            model,
            {
                name: np.average([t[name] for t in tensors], axis=0, weights=weights).astype(np.float32)
                for name in tensors[0]
            },
        )
    after = weighted([digits.validate(model, part) for part in range(5)])
    assert after["loss"] < before["loss"] / 4
    assert after["accuracy"] > 0.9


def weighted(metrics: list[dict[str, float]]) -> dict[str, float]:
    total = sum(m["num_examples"] for m in metrics)
    return {name: sum(m[name] * m["num_examples"] for m in metrics) / total for name in ("loss", "accuracy")}


def test_digits_settings_are_obeyed_and_a_misspelt_one_is_refused(digits: Project) -> None:
    seed = digits.init_model()
    usual = digits.train(seed, 0).read_bytes()
    assert digits.train(seed, 0, settings={"epochs": 1}).read_bytes() != usual
    assert digits.train(seed, 0, settings={"epochs": 5}).read_bytes() == usual
    with pytest.raises(subprocess.CalledProcessError) as refused:
        digits.train(seed, 0, settings={"epoch": 1})
    assert "unknown client settings ['epoch']" in refused.value.stderr


def test_a_part_that_is_not_there_is_refused_in_one_sentence(digits: Project) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        digits.train(digits.init_model(), 5, FEDN_PARTS="5")
    assert refused.value.stderr == "this client has part 5 (the first is 0), but there are only 5 parts\n"


@pytest.mark.parametrize("scripts", ["digits"], indirect=True)
@pytest.mark.parametrize("parts", [1, 5, 7])
def test_digits_parts_are_disjoint_and_complete(
    scripts: ModuleType, parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = np.arange(1797)
    labels = numbers % 10
    np.savez("digits.npz", images=np.repeat(numbers[:, None], 64, axis=1), labels=labels)
    monkeypatch.setenv("FEDN_PARTS", str(parts))
    seen = []
    for part in range(parts):
        monkeypatch.setenv("FEDN_PART", str(part))
        for load in (scripts.load_train, scripts.load_test):
            images, of_images = load()
            mine = ((images[:, 0] + 1) * 8).round().astype(int)  # each stand-in image holds its number
            np.testing.assert_array_equal(labels[mine], of_images)
            seen += mine.tolist()
    assert sorted(seen) == numbers.tolist()


@pytest.mark.parametrize("scripts", ["digits"], indirect=True)
def test_digits_hold_out_a_fifth_of_each_digit(scripts: ModuleType) -> None:
    labels = np.repeat(np.arange(10), 100)
    held_out = scripts.split(labels, seed=1)["test"]
    assert np.bincount(labels[held_out]).tolist() == [20] * 10
    assert set(held_out) != set(scripts.split(labels, seed=2)["test"])


# ── mnist-pytorch ─────────────────────────────────────────────────────────────────────────────────


def test_mnist_task_trains_on_its_part_and_repeats_to_the_byte(mnist: Project) -> None:
    seed = mnist.init_model()
    before = mnist.validate(seed, 0)
    update = mnist.train(seed, 0)
    first = update.read_bytes()
    assert schema(update) == schema(seed)
    assert sum(array.size for array in load_tensors(seed).values()) == 199_210
    assert num_examples(update) == 6000
    after = mnist.validate(update, 0)
    assert after["num_examples"] == before["num_examples"] == 1000
    assert after["accuracy"] > 0.85 > before["accuracy"]
    assert after["loss"] < before["loss"]
    assert mnist.train(seed, 0).read_bytes() == first
    assert mnist.train(seed, 0, FEDN_SEED="8").read_bytes() != first


def test_mnist_task_in_a_worker_is_as_in_a_process_of_its_own(mnist: Project) -> None:
    seed = mnist.init_model()
    alone = mnist.train(seed, 1).read_bytes()
    outs = mnist.in_one_worker(seed, ("train.py", 0), ("train.py", 1), ("validate.py", 1), ("train.py", 1))
    assert [out.read_bytes() == alone for out in outs] == [False, True, False, True]


def test_mnist_split_is_a_client_setting(mnist: Project) -> None:
    seed = mnist.init_model()
    splits = ({"split": "iid"}, {"split": "shards"}, {"split": "dirichlet"}, {"split": "dirichlet", "alpha": 5})
    assert len({mnist.train(seed, 2, settings=settings).read_bytes() for settings in splits}) == 4
    for settings, reason in (
        ({"split": "by-label"}, "the client setting split is 'by-label'; there are iid, shards, dirichlet\n"),
        ({"split": "dirichlet", "alpha": 0}, "alpha is 0; a Dirichlet distribution wants a number above 0\n"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            mnist.train(seed, 2, settings=settings)
        assert refused.value.stderr == reason


def test_mnist_file_that_is_another_is_refused_by_name(tmp_path: Path, mnist_data: Path) -> None:
    forged = shutil.copytree(mnist_data / "mnist", tmp_path / "data" / "mnist")
    labels = forged / "t10k-labels-idx1-ubyte.gz"
    labels.chmod(0o600)
    labels.unlink()
    labels.write_bytes((forged / "train-labels-idx1-ubyte.gz").read_bytes())
    project = Project("mnist-pytorch", tmp_path, FEDN_DATA_DIR=str(tmp_path / "data"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        project.validate(project.init_model(), 0)
    assert refused.value.stderr.startswith(f"{labels} is not mnist/t10k-labels-idx1-ubyte")
    assert refused.value.stderr.count("\n") == 1


def test_mnist_that_is_neither_here_nor_there_is_one_sentence(tmp_path: Path) -> None:
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
    environ = {"FEDN_DATA_DIR": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path / "cache"), **nowhere}
    project = Project("mnist-pytorch", tmp_path, **environ)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        project.train(project.init_model(), 0)
    assert refused.value.stderr.count("\n") == 1
    assert f"{tmp_path / 'none' / 'mnist' / 'train-images-idx3-ubyte.gz'} is not there" in refused.value.stderr


@pytest.mark.parametrize("scripts", ["mnist-pytorch"], indirect=True)
@pytest.mark.parametrize("split", ["iid", "shards", "dirichlet"])
@pytest.mark.parametrize("parts", [1, 7, 10, 100])
def test_mnist_parts_are_disjoint_complete_and_repeat(scripts: ModuleType, split: str, parts: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 6000).astype(np.uint8)
    positions = scripts.partition(labels, parts, split, 0.5, 3)
    assert len(positions) == parts
    assert sorted(np.concatenate(positions).tolist()) == list(range(6000))
    again = scripts.partition(labels, parts, split, 0.5, 3)
    assert all((one == other).all() for one, other in zip(positions, again, strict=True))
    if parts > 1:
        other_seed = scripts.partition(labels, parts, split, 0.5, 4)
        assert any(set(one) != set(other) for one, other in zip(positions, other_seed, strict=True))


@pytest.mark.parametrize("scripts", ["mnist-pytorch"], indirect=True)
def test_mnist_shards_give_a_part_two_shards_of_the_sorted_labels(scripts: ModuleType) -> None:
    even = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 600))
    for mine in scripts.partition(even, 10, "shards", 0.5, 3):
        assert len(mine) == 600
        assert len(set(even[mine].tolist())) <= 2
    iid = scripts.partition(even, 10, "iid", 0.5, 3)
    assert all(len(set(even[mine].tolist())) == 10 for mine in iid)
