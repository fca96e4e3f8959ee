"""The contract for Keras models: run by test_helpers_keras.py, in a process of its own for each backend."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from fedn.errors import ModelInvalid
from fedn.model.helpers import get
from fedn.model.helpers import keras as helper
from fedn.model.safetensors import load_tensors
from test.unit.helper_suite import DTYPES, Case, HelperSuite, bits_of, same

EXAMPLES = np.random.default_rng(4).standard_normal((8, 6)).astype(np.float32)
LABELS = np.arange(8) % 3


def functional() -> keras.Model:
    """A layer that is used twice, two branches, BatchNorm, Dropout."""
    entry = layers.Input((6,))
    shared = layers.Dense(6, activation="tanh")
    left = layers.BatchNormalization()(shared(entry))
    right = layers.Dropout(0.3)(shared(left))
    return keras.Model(entry, layers.Dense(3)(layers.Concatenate()([left, right])))


def sequential() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((6,)),
            layers.Normalization(),
            keras.Sequential([layers.Dense(4), layers.BatchNormalization()]),
            layers.Dense(3),
        ]
    )


def mixed() -> keras.Model:
    """A body that computes in float16 with float32 weights, and a layer whose weights are bfloat16."""
    body = layers.Dense(4, dtype=keras.DTypePolicy("mixed_float16"))
    return keras.Sequential([layers.Input((6,)), body, layers.Dense(3, dtype="bfloat16"), layers.Activation("linear")])


class Subclassed(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Layers in a list, a counter, a variable without a name, tied weights; built when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [layers.Dense(6), layers.BatchNormalization()]
        self.head = layers.Dense(3)
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=(6,), initializer="ones")
        self.again = self.scale

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.calls.assign_add(1)
        for layer in self.hidden:
            inputs = layer(inputs, training=training) if layer is self.hidden[1] else layer(inputs)
        return self.head(inputs * self.scale + self.again)


def subclassed() -> keras.Model:
    model = Subclassed()
    model(EXAMPLES)
    return model


def seeded(make: Callable[[], keras.Model]) -> Callable[[int], keras.Model]:
    def model(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        made, rng = make(), np.random.default_rng(seed)
        for variable in made.weights:
            variable.assign(rng.uniform(1, 100, tuple(variable.shape)).astype(variable.dtype))
        return made

    return model


def state(model: keras.Model) -> Sequence[npt.NDArray[Any]]:
    return [plain(variable) for variable in model.weights]


def plain(variable: Any) -> npt.NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras 3.15 has no `copy` in __array__, which NumPy wants
        array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array.astype(variable.dtype)  # torch has no uint16: Keras keeps it in an int32


def step(model: keras.Model) -> None:
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(EXAMPLES, LABELS, verbose=0)


def wider() -> keras.Model:
    return keras.Sequential([layers.Input((6,)), layers.Dense(9)])


CASES = [
    Case(
        "functional",
        get("keras"),
        seeded(functional),
        functional,
        state,
        step,
        [
            (
                wider,
                "tensor '0.kernel' is float32 [6, 6] in the file, float32 [6, 9] in the model",
            ),
            (
                sequential,
                "the file has a tensor '0.kernel', the model has none",
            ),
        ],
    ),
    Case("sequential", get("keras"), seeded(sequential), sequential, state, step),
    Case("mixed", get("keras"), seeded(mixed), mixed, state, step),
    Case("subclassed", get("keras"), seeded(subclassed), subclassed, state, step),
]


class TestKeras(HelperSuite):
    cases = CASES


class Holder(layers.Layer):  # type: ignore[misc]
    """A variable of a dtype."""

    def __init__(self, kind: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.kind, self.shape = kind, shape

    def build(self, shape: Any) -> None:
        self.held = self.add_weight(shape=self.shape, dtype=self.kind, initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "uint64" or keras.backend.backend() != "torch"])
def test_weights_of_every_dtype_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    def model() -> keras.Model:
        return keras.Sequential([layers.Input((1,)), Holder(dtype, shape)])

    values = bits_of(dtype, shape)
    if keras.backend.backend() == "torch" and dtype == "bfloat16":
        values = np.nan_to_num(values)  # Keras assigns it by way of float32, which makes all NaNs one
    saved, into = model(), model()
    saved.weights[0].assign(values)
    helper.save(tmp_path / "m", saved)
    assert same([load_tensors(tmp_path / "m")["0.variable"]], [values])
    assert same(state(helper.load(tmp_path / "m", into=into)), state(saved))


def test_names_are_positions_and_shared_weights_are_there_once(tmp_path: Path) -> None:
    helper.save(tmp_path / "m", functional())
    assert sorted(helper.load(tmp_path / "m")) == [
        "0.kernel", "1.bias", "2.gamma", "3.beta", "4.moving_mean", "5.moving_variance", "6.kernel", "7.bias",
    ]  # fmt: skip
    helper.save(tmp_path / "s", subclassed())
    assert sorted(helper.load(tmp_path / "s"))[:2] == ["0.variable", "1.variable"]
    assert len(helper.load(tmp_path / "s")) == 10


def test_a_frozen_model_has_the_tensors_of_one_that_is_not(tmp_path: Path) -> None:
    frozen = functional()
    frozen.trainable = False
    helper.save(tmp_path / "m", seeded(functional)(1))
    assert same(state(helper.load(tmp_path / "m", into=frozen)), state(seeded(functional)(1)))


def test_arrays_are_saved_as_their_model_is(tmp_path: Path) -> None:
    digest = helper.save(tmp_path / "m", functional())
    assert helper.save(tmp_path / "again", helper.load(tmp_path / "m")) == digest


def test_what_is_the_clients_own_stays_there(tmp_path: Path) -> None:
    """The optimizer's moments, the metrics and the states of random generators."""
    one, other = functional(), functional()
    step(one)
    helper.save(tmp_path / "m", one)
    step(other)
    own = [variable for variable in other.variables if all(variable is not weight for weight in other.weights)]
    own += other.optimizer.variables
    before = [plain(variable) for variable in own]
    helper.load(tmp_path / "m", into=other)
    assert len(own) > 3
    assert same([plain(variable) for variable in own], before)


def test_normalization_computes_with_what_was_loaded(tmp_path: Path) -> None:
    adapted = layers.Normalization()
    adapted.adapt(EXAMPLES * 7 + 3)
    model = keras.Sequential([layers.Input((6,)), adapted])
    helper.save(tmp_path / "m", model)
    into = helper.load(tmp_path / "m", into=keras.Sequential([layers.Input((6,)), layers.Normalization()]))
    np.testing.assert_array_equal(into(EXAMPLES), model(EXAMPLES))


@pytest.mark.filterwarnings("ignore:.build..* was called on layer:UserWarning")  # Keras: this layer is not built
def test_a_model_that_is_not_built_is_refused_by_the_layers_name(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="build the model first, or call it once"):
        helper.save(tmp_path / "m", Subclassed())
    helper.save(tmp_path / "m", subclassed())
    half_built = Subclassed()
    half_built.built = True
    with pytest.raises(ModelInvalid, match=r"layer 'dense[_0-9]*' of the model 'subclassed[_0-9]*' is not built"):
        helper.load(tmp_path / "m", into=half_built)
    with pytest.raises(ModelInvalid, match="is not built"):
        helper.save(tmp_path / "n", keras.Sequential([layers.Dense(3)]))
    assert not (tmp_path / "n").exists()


def test_the_backend_is_the_one_that_was_asked_for() -> None:
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
