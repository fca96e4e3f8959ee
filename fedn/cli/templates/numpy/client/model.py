"""The model: multinomial logistic regression in plain NumPy, 64 pixels to 10 digits."""

import numpy as np


def make_model(*, seed):
    """Initial parameters by name: this dict is what travels over the network."""
    rng = np.random.default_rng(seed)
    return {
        "weight": rng.normal(0, 0.01, (64, 10)).astype(np.float32),
        "bias": np.zeros(10, np.float32),
    }


def predict(model, images):
    """Probabilities [n, 10]."""
    scores = images @ model["weight"] + model["bias"]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def losses(probabilities, labels):
    """The cross-entropy of each example [n]."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12))


def step(model, images, labels, learning_rate):
    """One step of gradient descent on a batch, in place; returns the losses before it."""
    probabilities = predict(model, images)
    error = (probabilities - np.eye(10, dtype=np.float32)[labels]) / len(labels)
    model["weight"] -= learning_rate * (images.T @ error)
    model["bias"] -= learning_rate * error.sum(axis=0)
    return losses(probabilities, labels)
