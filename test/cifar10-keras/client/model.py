"""Keras's MobileNetV2 (Sandler et al. 2018) at a tenth of its width, for 32 x 32 pixels and 10 classes."""

import functools
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets on stderr otherwise
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # other clients may share this machine
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras

BATCHNORM_MOMENTUM = 0.9  # the default of 0.999 is for runs of many more steps


def new_model():
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.1, weights=None, classes=10, classifier_activation=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCHNORM_MOMENTUM
    return model


@functools.cache  # a worker's next task need not trace its graph again
def compiled():
    """A model to load weights into, with SGD."""
    model = new_model()
    model.compile(
        optimizer=keras.optimizers.SGD(momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def forget_momentum(optimizer, learning_rate):
    """As if the optimizer were new: what it keeps belongs to the task before."""
    for variable in optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    optimizer.learning_rate = learning_rate
