"""Helpers: what is saved is what is loaded, to the last bit; what does not fit is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVC

from fedn.errors import BadNumExamples, ModelInvalid, OutputInvalid, SchemaMismatch
from fedn.model.helpers import numpy as numpy_helper
from fedn.model.helpers import sklearn as sklearn_helper
from fedn.model.helpers import torch as torch_helper
from fedn.model.safetensors import load_tensors

NUMPY_DTYPES = [
    np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
    np.float16, np.float32, np.float64, ml_dtypes.bfloat16,
]  # fmt: skip
TORCH_DTYPES = [
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.float32, torch.float64, torch.bfloat16,
]  # fmt: skip


def arrays_of(dtype: npt.DTypeLike) -> dict[str, npt.NDArray[Any]]:
    values = np.random.default_rng(3).integers(0, 100, (3, 4)).astype(dtype)
    return {
        "matrix": values,
        "scalar": values[1, 2],
        "empty": values[:0],
        "column-major": np.asfortranarray(values),
        "strided": values[:, ::2],
    }


# ── numpy ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_numpy_arrays_come_back_with_the_same_bits(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    model = arrays_of(dtype)
    numpy_helper.save(tmp_path / "m", model)
    loaded = numpy_helper.load(tmp_path / "m")
    assert loaded.keys() == model.keys()
    for name, array in model.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def test_numpy_arrays_that_were_loaded_can_be_trained_in_place(tmp_path: Path) -> None:
    numpy_helper.save(tmp_path / "m", {"w": np.ones(3, np.float32)})
    weights = numpy_helper.load(tmp_path / "m")["w"]
    weights += np.float32(1)
    assert weights.tolist() == [2, 2, 2]


def test_numpy_load_into_fills_the_arrays_in_place(tmp_path: Path) -> None:
    numpy_helper.save(tmp_path / "m", {"w": np.arange(4.0), "n": np.int64(7)})
    model = {"w": np.zeros(4), "n": np.zeros((), np.int64)}
    weights = model["w"]
    assert numpy_helper.load(tmp_path / "m", into=model) is model
    assert weights.tolist() == [0, 1, 2, 3]
    assert model["n"] == 7


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"w": np.zeros((1, 4), "f4")}, "tensor 'w' is float32 [4] in the file, float32 [1, 4] in the model"),
        ({"w": np.zeros(4)}, "tensor 'w' is float32 [4] in the file, float64 [4] in the model"),
        ({"v": np.zeros(4, np.float32)}, "the model has a tensor 'v', the file has none"),
        ({}, "the file has a tensor 'w', the model has none"),
    ],
)  # fmt: skip
def test_numpy_load_into_another_model_is_refused_in_words(
    tmp_path: Path, model: dict[str, npt.NDArray[Any]], reason: str
) -> None:
    numpy_helper.save(tmp_path / "m", {"w": np.ones(4, np.float32)})
    with pytest.raises(SchemaMismatch) as refused:
        numpy_helper.load(tmp_path / "m", into=model)
    assert refused.value.reason == reason
    assert not any(array.any() for array in model.values())


def test_equal_models_are_equal_files_whatever_the_order_of_names(tmp_path: Path) -> None:
    first = numpy_helper.save(tmp_path / "1", {"a": np.zeros(2), "b": np.ones(3)})
    second = numpy_helper.save(tmp_path / "2", {"b": np.ones(3), "a": np.zeros(2)})
    assert first == second
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


# ── metadata ──────────────────────────────────────────────────────────────────────────────────────


def test_save_with_num_examples_writes_metadata_beside_the_model(tmp_path: Path) -> None:
    metrics = {"loss": np.float32(0.5), "accuracy": 1}
    numpy_helper.save(tmp_path / "m", {"w": np.ones(1)}, num_examples=np.int64(12), metrics=metrics)  # type: ignore[arg-type]
    metadata = json.loads((tmp_path / "m-metadata").read_text())
    assert metadata == {"num_examples": 12, "metrics": {"loss": 0.5, "accuracy": 1.0}}


def test_a_seed_model_has_no_metadata(tmp_path: Path) -> None:
    numpy_helper.save(tmp_path / "m", {"w": np.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_save_metrics_writes_one_object_of_numbers(tmp_path: Path) -> None:
    torch_helper.save_metrics(tmp_path / "v.json", {"loss": torch.tensor(0.25)}, num_examples=8)
    assert json.loads((tmp_path / "v.json").read_text()) == {"loss": 0.25, "num_examples": 8}


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "3"])
def test_a_num_examples_that_is_no_count_is_refused(tmp_path: Path, count: Any) -> None:
    with pytest.raises(BadNumExamples, match="num_examples is"):
        numpy_helper.save(tmp_path / "m", {"w": np.ones(1)}, num_examples=count)
    with pytest.raises(BadNumExamples, match="num_examples is"):
        numpy_helper.save_metrics(tmp_path / "v.json", {}, num_examples=count)
    assert not (tmp_path / "m-metadata").exists()
    assert not (tmp_path / "v.json").exists()


def test_metrics_without_num_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadNumExamples, match="without num_examples"):
        numpy_helper.save(tmp_path / "m", {"w": np.ones(1)}, metrics={"loss": 1.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "high", None])
def test_a_metric_that_is_no_finite_number_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    with pytest.raises(OutputInvalid, match="metric 'loss' is"):
        numpy_helper.save_metrics(tmp_path / "v.json", {"loss": value}, num_examples=1)
    assert not (tmp_path / "v.json").exists()


# ── torch ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_torch_tensors_come_back_with_the_same_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.arange(12).reshape(3, 4).to(dtype)
    state = {"matrix": values, "scalar": values[1, 2], "empty": values[:0], "transposed": values.T}
    torch_helper.save(tmp_path / "m", state)
    loaded = torch_helper.load(tmp_path / "m")
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].tolist() == tensor.tolist()
        assert loaded[name].shape == tensor.shape


class Tied(torch.nn.Module):
    """An embedding whose weights are the output layer's too, a BatchNorm with its counter, bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.narrow = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
        self.output = torch.nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight


def test_torch_module_comes_back_exactly_with_buffers_and_tied_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = Tied()
    trained.norm(torch.randn(4, 3))
    torch_helper.save(tmp_path / "m", trained, num_examples=4)
    assert {"embedding.weight", "output.weight"} <= load_tensors(tmp_path / "m").keys()

    module = torch_helper.load(tmp_path / "m", into=Tied())
    for name, tensor in trained.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name
    assert module.norm.num_batches_tracked == torch.tensor(1)
    assert module.output.weight is module.embedding.weight
    assert module.narrow.weight.dtype == torch.bfloat16
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_torch_model_loaded_and_saved_again_is_the_same_file(tmp_path: Path) -> None:
    first = torch_helper.save(tmp_path / "1", Tied())
    second = torch_helper.save(tmp_path / "2", torch_helper.load(tmp_path / "1", into=Tied()))
    assert first == second


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (torch.nn.Linear(3, 2), "tensor 'bias' is float32 [1] in the file, float32 [2] in the model"),
        (torch.nn.Linear(3, 1, bias=False), "the file has a tensor 'bias', the model has none"),
        (torch.nn.Sequential(torch.nn.Linear(3, 1)), "the model has a tensor '0.bias', the file has none"),
        (
            torch.nn.Linear(3, 1).half(),
            "tensor 'bias' is float32 [1] in the file, float16 [1] in the model",
        ),
    ],
)
def test_torch_load_into_another_module_is_refused_and_leaves_it_as_it_was(
    tmp_path: Path, module: torch.nn.Module, reason: str
) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch_helper.save(tmp_path / "m", torch.nn.Linear(3, 1))
    with pytest.raises(SchemaMismatch) as refused:
        torch_helper.load(tmp_path / "m", into=module)
    assert refused.value.reason == reason
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_torch_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Stateful(torch.nn.Linear):
        def get_extra_state(self) -> object:
            return {"step": 1}

    with pytest.raises(ModelInvalid, match="'_extra_state' is a dict"):
        torch_helper.save(tmp_path / "m", Stateful(1, 1))
    assert not (tmp_path / "m").exists()


# ── scikit-learn ──────────────────────────────────────────────────────────────────────────────────

RNG = np.random.default_rng(5)
IMAGES = RNG.standard_normal((60, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 60)
CLASSES = ["ant", "bee", "cat"]
NAMES = np.array(CLASSES)[LABELS]
VALUES = (IMAGES @ RNG.standard_normal(6)).astype(np.float32)

CLASSIFIERS = [
    MLPClassifier((8, 5), random_state=1, solver="sgd"),
    MLPClassifier(7, random_state=1, batch_size=10),
    SGDClassifier(loss="log_loss", random_state=1),
    Perceptron(random_state=1),
]
REGRESSORS = [MLPRegressor(hidden_layer_sizes=(8,), random_state=1), SGDRegressor(random_state=1)]
BATCH = [
    LogisticRegression(),
    RidgeClassifier(),
    LinearSVC(random_state=1),
    LinearSVC(random_state=1, fit_intercept=False),
]


def outputs(estimator: Any) -> npt.NDArray[Any]:
    method = next(m for m in ("predict_proba", "decision_function", "predict") if hasattr(estimator, m))
    return np.asarray(getattr(estimator, method)(IMAGES))


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=repr)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classifier_goes_on_from_a_file_as_if_it_had_never_been_saved(
    tmp_path: Path, kind: Any, count: int, dtype: npt.DTypeLike
) -> None:
    classes = CLASSES[:count]
    ours = np.isin(NAMES, classes)
    images, names = IMAGES[ours].astype(dtype), NAMES[ours]
    seed = sklearn_helper.initialise(clone(kind), n_features=6, classes=classes, dtype=dtype)
    sklearn_helper.save(tmp_path / "seed", seed)

    first = sklearn_helper.load(tmp_path / "seed", into=clone(kind), classes=classes)
    np.testing.assert_array_equal(outputs(first), outputs(seed))
    first.partial_fit(images, names)
    digest = sklearn_helper.save(tmp_path / "trained", first, num_examples=len(images))
    seed_file, trained_file = load_tensors(tmp_path / "seed"), load_tensors(tmp_path / "trained")
    assert {n: (a.shape, a.dtype) for n, a in seed_file.items()} == {
        n: (a.shape, a.dtype) for n, a in trained_file.items()
    }
    assert {a.dtype for a in trained_file.values()} == {np.dtype(dtype)}

    second = sklearn_helper.load(tmp_path / "trained", into=clone(kind), classes=classes)
    np.testing.assert_array_equal(second.predict(images), first.predict(images))
    assert set(second.predict(images)) <= set(classes)
    assert sklearn_helper.save(tmp_path / "again", second) == digest
    one_class = names == classes[0]  # a client's part need not hold every class
    second.partial_fit(images[one_class], names[one_class])
    assert second.classes_.tolist() == classes


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=repr)
def test_training_from_an_initialised_file_is_training_from_scratch(tmp_path: Path, kind: Any) -> None:
    sklearn_helper.save(tmp_path / "seed", sklearn_helper.initialise(clone(kind), n_features=6, classes=CLASSES))
    federated = sklearn_helper.load(tmp_path / "seed", into=clone(kind), classes=CLASSES)
    federated.partial_fit(IMAGES, NAMES)
    alone = clone(kind)
    if isinstance(kind, MLPClassifier):  # scratch draws weights and order from one stream: give it ours
        alone = sklearn_helper.initialise(alone, n_features=6, classes=CLASSES)
    alone.partial_fit(IMAGES, NAMES, classes=CLASSES)
    np.testing.assert_array_equal(outputs(federated), outputs(alone))


@pytest.mark.parametrize("early", [False, True])
def test_a_perceptron_is_initialised_as_scikit_learn_draws_it(early: bool) -> None:
    kind = MLPClassifier((50,), random_state=3, learning_rate_init=0.5, alpha=9.0, early_stopping=early)
    model = sklearn_helper.initialise(clone(kind), n_features=6, classes=CLASSES, dtype=np.float64)
    still = MLPClassifier((50,), random_state=3, solver="sgd", learning_rate_init=1e-300)
    fresh = still.partial_fit(IMAGES.astype(np.float64), NAMES, classes=CLASSES)
    for ours, theirs in zip(model.coefs_ + model.intercepts_, fresh.coefs_ + fresh.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not hasattr(model, "_optimizer")
    assert model.t_ == 0


@pytest.mark.parametrize("kind", REGRESSORS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regressor_goes_on_from_a_file(tmp_path: Path, kind: Any, dtype: npt.DTypeLike) -> None:
    images = IMAGES.astype(dtype)
    seed = sklearn_helper.initialise(clone(kind), n_features=6, dtype=dtype)
    sklearn_helper.save(tmp_path / "seed", seed)
    model = sklearn_helper.load(tmp_path / "seed", into=clone(kind))
    np.testing.assert_array_equal(model.predict(images), seed.predict(images))
    before = np.square(model.predict(images) - VALUES).mean()
    for _ in range(20):
        model.partial_fit(images, VALUES)
    assert np.square(model.predict(images) - VALUES).mean() < before
    digest = sklearn_helper.save(tmp_path / "trained", model)
    again = sklearn_helper.load(tmp_path / "trained", into=clone(kind))
    # scikit-learn computes SGD's intercept in float64: it is rounded to the weights' dtype, once
    np.testing.assert_allclose(again.predict(images), model.predict(images), rtol=1e-6)
    assert sklearn_helper.save(tmp_path / "again", again) == digest


def test_regressor_of_several_outputs_comes_back(tmp_path: Path) -> None:
    targets = np.stack([VALUES, -VALUES], axis=1)
    for kind in (MLPRegressor(hidden_layer_sizes=(4,), random_state=1), Ridge(), LinearRegression()):
        seed = sklearn_helper.initialise(clone(kind), n_features=6, n_outputs=2)
        sklearn_helper.save(tmp_path / "seed", seed)
        shapes = {name: array.shape for name, array in load_tensors(tmp_path / "seed").items()}
        trained = clone(kind).set_params(**({"max_iter": 500} if isinstance(kind, MLPRegressor) else {}))
        trained = trained.fit(IMAGES, targets) if not hasattr(trained, "partial_fit") else seed
        sklearn_helper.save(tmp_path / "m", trained)
        assert shapes == {name: array.shape for name, array in load_tensors(tmp_path / "m").items()}
        model = sklearn_helper.load(tmp_path / "m", into=clone(kind))
        np.testing.assert_array_equal(model.predict(IMAGES), trained.predict(IMAGES))


@pytest.mark.parametrize("kind", BATCH, ids=repr)
@pytest.mark.parametrize("count", [2, 3])
def test_linear_classifier_that_only_fits_predicts_from_a_file(tmp_path: Path, kind: Any, count: int) -> None:
    ours = np.isin(NAMES, CLASSES[:count])
    images, names = IMAGES[ours], NAMES[ours]
    seed = sklearn_helper.initialise(clone(kind), n_features=6, classes=CLASSES[:count])
    sklearn_helper.save(tmp_path / "seed", seed)
    trained = clone(kind).fit(images, names)
    sklearn_helper.save(tmp_path / "trained", trained)
    into = sklearn_helper.load(tmp_path / "trained", into=clone(kind), classes=CLASSES[:count])
    np.testing.assert_allclose(outputs(into), outputs(trained), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(into.predict(images), trained.predict(images))
    files = load_tensors(tmp_path / "seed"), load_tensors(tmp_path / "trained")
    assert {n: (a.shape, a.dtype) for n, a in files[0].items()} == {n: (a.shape, a.dtype) for n, a in files[1].items()}


def test_linear_regression_keeps_its_scalar_intercept(tmp_path: Path) -> None:
    trained = LinearRegression().fit(IMAGES, VALUES)
    sklearn_helper.save(tmp_path / "m", trained)
    model = sklearn_helper.load(tmp_path / "m", into=LinearRegression())
    np.testing.assert_allclose(model.predict(IMAGES), trained.predict(IMAGES), rtol=1e-6)
    assert np.ndim(model.intercept_) == 0


@pytest.mark.parametrize("early", [False, True])
def test_warm_started_fit_goes_on_from_a_file(tmp_path: Path, early: bool) -> None:
    kind = MLPClassifier((8,), random_state=1, warm_start=True, max_iter=3, n_iter_no_change=3, early_stopping=early)
    sklearn_helper.save(tmp_path / "seed", sklearn_helper.initialise(clone(kind), n_features=6, classes=range(3)))
    model = sklearn_helper.load(tmp_path / "seed", into=clone(kind))
    with pytest.warns(match="reached"):
        model.fit(IMAGES, LABELS)
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 3


def test_sklearn_load_into_a_fitted_estimator_replaces_its_parameters(tmp_path: Path) -> None:
    kind = MLPClassifier((8,), random_state=1)
    one = sklearn_helper.initialise(clone(kind), n_features=6, classes=CLASSES)
    sklearn_helper.save(tmp_path / "m", one)
    other = sklearn_helper.initialise(clone(kind).set_params(random_state=2), n_features=6, classes=CLASSES)
    assert (outputs(other) != outputs(one)).any()
    np.testing.assert_array_equal(outputs(sklearn_helper.load(tmp_path / "m", into=other)), outputs(one))


@pytest.mark.parametrize(
    ("into", "classes", "reason"),
    [
        (MLPClassifier((9,)), CLASSES, "is float32 [6, 8] in the file, float32 [6, 9] in the model"),
        (MLPClassifier((8, 8)), CLASSES, "is float32 [8, 3] in the file, float32 [8, 8] in the model"),
        (MLPClassifier((8,)), CLASSES[:2], "tells 3 classes apart, not 2"),
        (SGDClassifier(), CLASSES, "the model has a tensor 'coef_'"),
    ],
)  # fmt: skip
def test_sklearn_load_into_another_estimator_is_refused_and_leaves_it_as_it_was(
    tmp_path: Path, into: Any, classes: list[str], reason: str
) -> None:
    model = sklearn_helper.initialise(MLPClassifier((8,)), n_features=6, classes=CLASSES)
    sklearn_helper.save(tmp_path / "m", model)
    before = dict(vars(into))
    with pytest.raises(SchemaMismatch) as refused:
        sklearn_helper.load(tmp_path / "m", into=into, classes=classes)
    assert reason in refused.value.reason
    assert vars(into) == before


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"w": np.ones(3)}, "holds no 'coef_'"),
        ({"coef_": np.ones((3, 2), np.int64)}, "'coef_' is int64"),
        ({"coef_": np.ones(())}, "no estimator's weights"),
        ({"coefs_.0": np.ones((3, 2)), "coefs_.x": np.ones((2, 2))}, "holds no 'coefs_.1'"),
    ],
)
def test_sklearn_load_of_a_file_of_something_else_is_refused(
    tmp_path: Path, arrays: dict[str, npt.NDArray[Any]], reason: str
) -> None:
    numpy_helper.save(tmp_path / "m", arrays)
    with pytest.raises(SchemaMismatch, match=reason.replace("(", r"\(")):
        sklearn_helper.load(tmp_path / "m", into=SGDClassifier())


def test_sklearn_estimator_without_parameters_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="MLPClassifier has no parameters"):
        sklearn_helper.save(tmp_path / "m", MLPClassifier())
    with pytest.raises(ModelInvalid, match="without its classes"):
        sklearn_helper.initialise(MLPClassifier(), n_features=3)


# ── what a script pays for ────────────────────────────────────────────────────────────────────────


def test_a_helper_imports_nothing_of_the_network(tmp_path: Path) -> None:
    program = "import sys; from fedn.model.helpers import numpy; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"grpc", "httpx", "click", "rich", "yaml", "flask", "torch", "sklearn", "asyncio"}
    assert heavy.isdisjoint(loaded)
