"""The model: one hidden layer, 64 pixels to 10 digits."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's chatter would hide what you print

import keras


def make_model(*, seed=0, learning_rate=0.1):
    """The compiled model with its initial parameters. All of its weights travel over the network."""
    keras.utils.clear_session()  # a worker takes many tasks, and Keras remembers each model
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    )
    optimizer = keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
