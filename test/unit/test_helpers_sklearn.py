"""The helper of scikit-learn estimators: the contract, before the first fit and after, classifiers and regressors."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.base import clone, is_classifier
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

from fedn.errors import ModelInvalid, SchemaMismatch
from fedn.model.helpers import get
from fedn.model.helpers import numpy as numpy_helper
from fedn.model.helpers import sklearn as helper
from fedn.model.safetensors import load_tensors
from test.unit.helper_suite import Case, HelperSuite

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


def seeded(kind: Any, **size: Any) -> Callable[[int], Any]:
    """Initialised models with drawn parameters: those of a linear model are zeros until then."""

    def model(seed: int) -> Any:
        estimator = helper.initialise(clone(kind).set_params(random_state=seed), n_features=6, **size)
        if hasattr(estimator, "coef_"):
            estimator.coef_[...] = np.random.default_rng(seed).standard_normal(estimator.coef_.shape)
        return estimator

    return model


def state(estimator: Any) -> Sequence[npt.NDArray[Any]]:
    if hasattr(estimator, "coefs_"):
        return [*estimator.coefs_, *estimator.intercepts_]
    return [np.asarray(estimator.coef_), np.asarray(estimator.intercept_)] if hasattr(estimator, "coef_") else []


def step(estimator: Any) -> None:
    estimator.partial_fit(IMAGES, LABELS if is_classifier(estimator) else VALUES)


MLP = MLPClassifier((8,), random_state=1)
CASES = [
    Case(
        "perceptron",
        get("sklearn"),
        seeded(MLP, classes=range(3)),
        lambda: clone(MLP),
        state,
        step,
        [
            (
                lambda: MLPClassifier((9,)),
                "tensor 'coefs_.0' is float32 [6, 8] in the file, float32 [6, 9] in the model",
            ),
            (
                lambda: MLPClassifier((8, 8)),
                "tensor 'coefs_.1' is float32 [8, 3] in the file, float32 [8, 8] in the model",
            ),
            (MLPRegressor, "tensor 'coefs_.0' is float32 [6, 8] in the file, float32 [6, 100] in the model"),
            (SGDClassifier, "the model has a tensor 'coef_', the file has none"),
            (
                lambda: seeded(MLP, classes=range(4))(2),
                "tensor 'coefs_.1' is float32 [8, 3] in the file, float32 [8, 4] in the model",
            ),
            (
                lambda: seeded(MLP, classes=range(3), dtype=np.float64)(2),
                "tensor 'coefs_.0' is float32 [6, 8] in the file, float64 [6, 8] in the model",
            ),
        ],
    ),
    Case(
        "sgd",
        get("sklearn"),
        seeded(SGDClassifier(), classes=range(3)),
        SGDClassifier,
        state,
        step,
        [
            (MLPClassifier, "the file has a tensor 'coef_', the model has none"),
            (
                lambda: seeded(SGDClassifier(), classes=range(2))(2),
                "tensor 'coef_' is float32 [3, 6] in the file, float32 [1, 6] in the model",
            ),
        ],
    ),
    Case(
        "averaged sgd",
        get("sklearn"),
        seeded(SGDRegressor(average=True)),
        lambda: SGDRegressor(average=True),
        state,
        step,
    ),
    Case(
        "fitted",
        get("sklearn"),
        seeded(MLPRegressor(hidden_layer_sizes=(4, 4))),
        lambda: seeded(MLPRegressor(hidden_layer_sizes=(4, 4)))(2),
        state,
        step,
    ),
]


class TestSklearn(HelperSuite):
    cases = CASES


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
    seed = helper.initialise(clone(kind), n_features=6, classes=classes, dtype=dtype)
    helper.save(tmp_path / "seed", seed)

    first = helper.load(tmp_path / "seed", into=clone(kind), classes=classes)
    np.testing.assert_array_equal(outputs(first), outputs(seed))
    first.partial_fit(images, names)
    digest = helper.save(tmp_path / "trained", first, num_examples=len(images))
    seed_file, trained_file = load_tensors(tmp_path / "seed"), load_tensors(tmp_path / "trained")
    assert {n: (a.shape, a.dtype) for n, a in seed_file.items()} == {
        n: (a.shape, a.dtype) for n, a in trained_file.items()
    }
    assert {a.dtype for a in trained_file.values()} == {np.dtype(dtype)}

    second = helper.load(tmp_path / "trained", into=clone(kind), classes=classes)
    np.testing.assert_array_equal(second.predict(images), first.predict(images))
    assert set(second.predict(images)) <= set(classes)
    assert helper.save(tmp_path / "again", second) == digest
    one_class = names == classes[0]  # a client's part need not hold every class
    second.partial_fit(images[one_class], names[one_class])
    assert second.classes_.tolist() == classes


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=repr)
def test_training_from_an_initialised_file_is_training_from_scratch(tmp_path: Path, kind: Any) -> None:
    helper.save(tmp_path / "seed", helper.initialise(clone(kind), n_features=6, classes=CLASSES))
    federated = helper.load(tmp_path / "seed", into=clone(kind), classes=CLASSES)
    federated.partial_fit(IMAGES, NAMES)
    alone = clone(kind)
    if isinstance(kind, MLPClassifier):  # scratch draws weights and order from one stream: give it ours
        alone = helper.initialise(alone, n_features=6, classes=CLASSES)
    alone.partial_fit(IMAGES, NAMES, classes=CLASSES)
    np.testing.assert_array_equal(outputs(federated), outputs(alone))


@pytest.mark.parametrize("early", [False, True])
def test_a_perceptron_is_initialised_as_scikit_learn_draws_it(early: bool) -> None:
    kind = MLPClassifier((50,), random_state=3, learning_rate_init=0.5, alpha=9.0, early_stopping=early)
    model = helper.initialise(clone(kind), n_features=6, classes=CLASSES, dtype=np.float64)
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
    seed = helper.initialise(clone(kind), n_features=6, dtype=dtype)
    helper.save(tmp_path / "seed", seed)
    model = helper.load(tmp_path / "seed", into=clone(kind))
    np.testing.assert_array_equal(model.predict(images), seed.predict(images))
    before = np.square(model.predict(images) - VALUES).mean()
    for _ in range(20):
        model.partial_fit(images, VALUES)
    assert np.square(model.predict(images) - VALUES).mean() < before
    digest = helper.save(tmp_path / "trained", model)
    again = helper.load(tmp_path / "trained", into=clone(kind))
    # scikit-learn computes SGD's intercept in float64: it is rounded to the weights' dtype, once
    np.testing.assert_allclose(again.predict(images), model.predict(images), rtol=1e-6)
    assert helper.save(tmp_path / "again", again) == digest


def test_regressor_of_several_outputs_comes_back(tmp_path: Path) -> None:
    targets = np.stack([VALUES, -VALUES], axis=1)
    for kind in (MLPRegressor(hidden_layer_sizes=(4,), random_state=1), Ridge(), LinearRegression()):
        seed = helper.initialise(clone(kind), n_features=6, n_outputs=2)
        helper.save(tmp_path / "seed", seed)
        shapes = {name: array.shape for name, array in load_tensors(tmp_path / "seed").items()}
        trained = clone(kind).set_params(**({"max_iter": 500} if isinstance(kind, MLPRegressor) else {}))
        trained = trained.fit(IMAGES, targets) if not hasattr(trained, "partial_fit") else seed
        helper.save(tmp_path / "m", trained)
        assert shapes == {name: array.shape for name, array in load_tensors(tmp_path / "m").items()}
        model = helper.load(tmp_path / "m", into=clone(kind))
        np.testing.assert_array_equal(model.predict(IMAGES), trained.predict(IMAGES))


@pytest.mark.parametrize("kind", BATCH, ids=repr)
@pytest.mark.parametrize("count", [2, 3])
def test_linear_classifier_that_only_fits_predicts_from_a_file(tmp_path: Path, kind: Any, count: int) -> None:
    ours = np.isin(NAMES, CLASSES[:count])
    images, names = IMAGES[ours], NAMES[ours]
    seed = helper.initialise(clone(kind), n_features=6, classes=CLASSES[:count])
    helper.save(tmp_path / "seed", seed)
    trained = clone(kind).fit(images, names)
    helper.save(tmp_path / "trained", trained)
    into = helper.load(tmp_path / "trained", into=clone(kind), classes=CLASSES[:count])
    np.testing.assert_allclose(outputs(into), outputs(trained), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(into.predict(images), trained.predict(images))
    files = load_tensors(tmp_path / "seed"), load_tensors(tmp_path / "trained")
    assert {n: (a.shape, a.dtype) for n, a in files[0].items()} == {n: (a.shape, a.dtype) for n, a in files[1].items()}


def test_linear_regression_keeps_its_scalar_intercept(tmp_path: Path) -> None:
    trained = LinearRegression().fit(IMAGES, VALUES)
    helper.save(tmp_path / "m", trained)
    model = helper.load(tmp_path / "m", into=LinearRegression())
    np.testing.assert_allclose(model.predict(IMAGES), trained.predict(IMAGES), rtol=1e-6)
    assert np.ndim(model.intercept_) == 0


@pytest.mark.parametrize("early", [False, True])
def test_warm_started_fit_goes_on_from_a_file(tmp_path: Path, early: bool) -> None:
    kind = MLPClassifier((8,), random_state=1, warm_start=True, max_iter=3, n_iter_no_change=3, early_stopping=early)
    helper.save(tmp_path / "seed", helper.initialise(clone(kind), n_features=6, classes=range(3)))
    model = helper.load(tmp_path / "seed", into=clone(kind))
    with pytest.warns(match="reached"):
        model.fit(IMAGES, LABELS)
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 3


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
        helper.load(tmp_path / "m", into=SGDClassifier())


def test_sklearn_estimator_without_parameters_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="MLPClassifier has no parameters"):
        helper.save(tmp_path / "m", MLPClassifier())
    with pytest.raises(ModelInvalid, match="without its classes"):
        helper.initialise(MLPClassifier(), n_features=3)


def test_labels_that_are_too_few_are_refused(tmp_path: Path) -> None:
    helper.save(tmp_path / "m", seeded(MLP, classes=CLASSES)(1))
    into = clone(MLP)
    with pytest.raises(SchemaMismatch, match="tells 3 classes apart, not 2"):
        helper.load(tmp_path / "m", into=into, classes=CLASSES[:2])
    assert not hasattr(into, "coefs_")


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_averaged_sgd_goes_on_from_what_was_loaded(tmp_path: Path, count: int, fitted: bool) -> None:
    kind = SGDClassifier(average=True, learning_rate="constant", eta0=1e-9, random_state=1)
    model = seeded(kind, classes=range(count))
    helper.save(tmp_path / "m", model(1))
    into = helper.load(tmp_path / "m", into=model(2).partial_fit(IMAGES, LABELS % count) if fitted else clone(kind))
    for _ in range(2):  # in steps of next to nothing
        into.partial_fit(IMAGES, LABELS % count)
    np.testing.assert_allclose(into.coef_, model(1).coef_, atol=1e-4)


def test_a_large_model_is_loaded_without_the_memory_to_train_it(tmp_path: Path) -> None:
    kind = MLPClassifier((1000,), random_state=1)
    model = helper.initialise(clone(kind), n_features=1000, classes=range(3))
    helper.save(tmp_path / "m", model)
    tracemalloc.start()
    try:
        into = helper.load(tmp_path / "m", into=clone(kind))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * sum(array.nbytes for array in state(model))
    assert into.n_features_in_ == 1000
    assert into.predict(np.ones((1, 1000), np.float32)) == model.predict(np.ones((1, 1000), np.float32))
