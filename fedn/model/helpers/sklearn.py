"""scikit-learn estimators: multi-layer perceptrons, and models with ``coef_`` and ``intercept_``.

A seed model, and a training script's three lines::

    helper.save(model_out, helper.initialise(MLPClassifier((64,)), n_features=64, classes=range(10)))

    estimator = helper.load(model_in, into=MLPClassifier((64,)), classes=range(10))
    estimator.partial_fit(images, labels)
    helper.save(model_out, estimator, num_examples=len(images))

Only the parameters travel. A solver's own state (Adam's moments, the step count of a learning-rate
schedule) starts anew in each task. A model keeps the dtype of the data that it was made for: train a
float32 model on float32 data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier

from fedn.errors import ModelInvalid, SchemaMismatch
from fedn.model.helpers.metadata import Metrics, save_metadata, save_metrics
from fedn.model.helpers.strict import Outline, describe, require_same
from fedn.model.safetensors import load_tensors, write_model

__all__ = ["initialise", "load", "save", "save_metrics"]

Array = npt.NDArray[Any]
Estimator = TypeVar("Estimator")

# A perceptron that takes a step of this size keeps the parameters that it drew, to the last bit.
_STANDSTILL = {
    "solver": "sgd",
    "learning_rate": "constant",
    "learning_rate_init": 1e-30,
    "alpha": 0.0,
    "batch_size": "auto",
}


def initialise(
    estimator: Estimator,
    *,
    n_features: int,
    classes: Iterable[Any] | None = None,
    n_outputs: int | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Estimator:
    """Give an estimator its initial parameters without data, so that it can be a seed model.

    A perceptron draws them as ``fit`` would (from its ``random_state``), a linear model begins at
    zero. A classifier needs its `classes`; a regressor takes `n_outputs` when its targets are a
    matrix. `dtype` is that of the data to come.
    """
    if is_classifier(estimator):
        if classes is None:
            raise ModelInvalid(f"a {type(estimator).__name__} cannot be initialised without its classes")
        targets = np.unique(list(classes))
    else:
        targets = np.ones(2 if n_outputs is None else (2, n_outputs))
    template = _template(estimator, n_features, targets, dtype)
    if not hasattr(template, "coefs_"):
        _assign(template, {name: np.zeros_like(array) for name, array in _parameters(template).items()})
    _adopt(estimator, template)
    return estimator


def load(path: str | PathLike[str], into: Estimator, *, classes: Iterable[Any] | None = None) -> Estimator:
    """Copy a model file's parameters into an estimator, fitted or new, and return it.

    A new classifier takes its `classes`; without them they are 0, 1, 2 … After it, ``predict``,
    ``partial_fit`` and, with ``warm_start``, ``fit`` go on from the loaded parameters.
    Raises `SchemaMismatch`, and leaves `into` as it was, unless the file holds just the parameters
    that such an estimator has.
    """
    arrays = load_tensors(Path(path))
    if _is_fitted(into):
        require_same(arrays, _parameters(into))
    else:
        n_features, template = _template_for(into, arrays, classes)
        require_same(arrays, _outlines(into, template, n_features))
        template.n_features_in_ = n_features
        _adopt(into, template)
    _assign(into, arrays)
    return into


def save(
    path: str | PathLike[str],
    model: Any,
    *,
    num_examples: int | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Write a fitted or initialised estimator's parameters as a model file; return the file's sha256.

    With `num_examples`, ``<path>-metadata`` is written too. Raises `ModelInvalid` for an estimator
    without parameters.
    """
    save_metadata(path, num_examples=num_examples, metrics=metrics)
    return write_model(Path(path), _parameters(model), synced=False)


def _is_fitted(estimator: object) -> bool:
    return hasattr(estimator, "coefs_") or getattr(estimator, "coef_", None) is not None


def _parameters(estimator: Any) -> dict[str, Array]:
    """An estimator's parameters by name, all in the dtype of its weights."""
    if not _is_fitted(estimator):
        raise ModelInvalid(f"{type(estimator).__name__} has no parameters: initialise or fit it first")
    if not hasattr(estimator, "coefs_"):
        weights = np.asarray(estimator.coef_)
        return {"coef_": weights, "intercept_": np.asarray(estimator.intercept_, weights.dtype)}
    named = {f"coefs_.{i}": array for i, array in enumerate(estimator.coefs_)}
    named |= {f"intercepts_.{i}": array for i, array in enumerate(estimator.intercepts_)}
    return {name: np.asarray(array) for name, array in named.items()}


def _assign(estimator: Any, arrays: Mapping[str, Array]) -> None:
    if hasattr(estimator, "coefs_"):
        layers = range(len(estimator.coefs_))
        estimator.coefs_ = [arrays[f"coefs_.{i}"] for i in layers]
        estimator.intercepts_ = [arrays[f"intercepts_.{i}"] for i in layers]
    else:
        estimator.coef_ = arrays["coef_"]
        estimator.intercept_ = arrays["intercept_"][()]  # a number where scikit-learn has a number
        if getattr(estimator, "average", 0):
            _average_anew(estimator)


def _average_anew(estimator: Any) -> None:
    """The steps of averaged SGD go on from ``coef_``, and their average is that of the steps to come."""
    estimator.t_ = 1.0
    for name in ("coef", "intercept"):
        now = getattr(estimator, f"{name}_")
        setattr(estimator, f"_standard_{name}", now)
        setattr(estimator, f"_average_{name}", np.zeros_like(now))


def _template(estimator: Any, n_features: int, targets: Array, dtype: npt.DTypeLike) -> Any:
    """A copy of `estimator` that was fitted on zeros, so that it has every attribute of a fitted one."""
    template = clone(estimator)
    known = template.get_params().keys()
    if "early_stopping" in known:  # it would hold out a part of the zeros, and bars partial_fit
        template.set_params(early_stopping=False)
    if "hidden_layer_sizes" in known:
        template.set_params(**_STANDSTILL)
    zeros = np.zeros((len(targets), n_features), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing converges on zeros
        if not hasattr(template, "partial_fit"):
            template.fit(zeros, targets)
        elif is_classifier(template):
            template.partial_fit(zeros, targets, classes=targets)
        else:
            template.partial_fit(zeros, targets)
    return template


def _template_for(estimator: Any, arrays: Mapping[str, Array], classes: Iterable[Any] | None) -> tuple[int, Any]:
    """How many features a model file's arrays ask for, and a template of one feature and layers of one neuron.

    A template as large as the model would need several times its memory to be fitted.
    """
    thin = clone(estimator)
    if "coefs_.0" in arrays:
        last = f"coefs_.{sum(name.startswith('coefs_.') for name in arrays) - 1}"
        weights, outputs = _weights(arrays, "coefs_.0", dims=(2,)), _weights(arrays, last, dims=(2,)).shape[1]
        n_features, columns = len(weights), outputs if outputs > 1 else None
    else:
        weights = _weights(arrays, "coef_", dims=(1, 2))
        n_features, columns = weights.shape[-1], len(weights) if weights.ndim == 2 else None
    if hasattr(thin, "hidden_layer_sizes"):
        thin.set_params(hidden_layer_sizes=(1,) * len(_hidden(estimator)))
    if is_classifier(estimator):
        targets = _class_labels(max(columns or 2, 2), classes)
    else:
        targets = np.ones(2 if columns is None else (2, columns))
    return n_features, _template(thin, 1, targets, weights.dtype)


def _outlines(estimator: Any, template: Any, n_features: int) -> dict[str, Outline]:
    """The parameters that `estimator` would have if it were fitted as its thin template was."""
    if hasattr(template, "coefs_"):
        units, dtype = [n_features, *_hidden(estimator), template.n_outputs_], template.coefs_[0].dtype
        layers = {f"coefs_.{i}": Outline(shape, dtype) for i, shape in enumerate(pairwise(units))}
        return layers | {f"intercepts_.{i}": Outline((size,), dtype) for i, size in enumerate(units[1:])}
    coef, intercept = _parameters(template).values()
    return {
        "coef_": Outline((*coef.shape[:-1], n_features), coef.dtype),
        "intercept_": Outline(intercept.shape, intercept.dtype),
    }


def _hidden(estimator: Any) -> list[int]:
    sizes = estimator.hidden_layer_sizes
    return [int(size) for size in sizes] if isinstance(sizes, Iterable) else [int(sizes)]


def _weights(arrays: Mapping[str, Array], name: str, *, dims: tuple[int, ...]) -> Array:
    if name not in arrays:
        raise SchemaMismatch(f"the file holds no {name!r}: it is no model of a scikit-learn estimator")
    array = arrays[name]
    if array.ndim not in dims or array.dtype.name not in ("float32", "float64") or array.size == 0:
        raise SchemaMismatch(f"tensor {name!r} is {describe(array)}: no estimator's weights")
    return array


def _class_labels(count: int, classes: Iterable[Any] | None) -> Array:
    labels = np.unique(list(range(count) if classes is None else classes))
    if len(labels) != count:
        raise SchemaMismatch(f"the model in the file tells {count} classes apart, not {len(labels)}")
    return labels


def _adopt(estimator: Any, template: Any) -> None:
    """Give `estimator` what fitting added to its template, less the traces of the zeros."""
    settings = template.get_params()
    attributes = {name: value for name, value in vars(template).items() if name not in settings}
    fresh: dict[str, Any] = {"n_iter_": 0, "t_": 1.0}
    if hasattr(template, "coefs_"):
        attributes.pop("_optimizer", None)
        fresh |= {"t_": 0, "loss_curve_": [], "best_loss_": np.inf}
        if estimator.early_stopping:
            fresh |= {"validation_scores_": [], "best_validation_score_": -np.inf, "best_loss_": None}
    vars(estimator).update(attributes | {name: v for name, v in fresh.items() if name in attributes})
