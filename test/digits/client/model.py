"""A network of one hidden layer in plain NumPy: 64 pixels, 256 hidden units, 10 digits."""

import numpy as np


def new_model(*, seed):
    """Initial parameters by name (He et al. 2015): this dict is what travels over the network."""
    rng = np.random.default_rng(seed)
    model = {
        "hidden.weight": rng.normal(0, np.sqrt(2 / 64), (64, 256)),
        "hidden.bias": np.zeros(256),
        "output.weight": rng.normal(0, np.sqrt(2 / 256), (256, 10)),
        "output.bias": np.zeros(10),
    }
    return {name: array.astype(np.float32) for name, array in model.items()}


def predict(model, images):
    """Probabilities [n, 10], and the hidden layer's output [n, 256]."""
    hidden = np.maximum(images @ model["hidden.weight"] + model["hidden.bias"], 0)
    scores = hidden @ model["output.weight"] + model["output.bias"]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True), hidden


def losses(probabilities, labels):
    """The cross-entropy of each example [n]."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12))


def step(model, images, labels, learning_rate):
    """One step of gradient descent on a batch, in place; returns the losses before it."""
    probabilities, hidden = predict(model, images)
    error = probabilities.copy()
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    hidden_error = (error @ model["output.weight"].T) * (hidden > 0)
    gradients = {
        "hidden.weight": images.T @ hidden_error,
        "hidden.bias": hidden_error.sum(axis=0),
        "output.weight": hidden.T @ error,
        "output.bias": error.sum(axis=0),
    }
    for name, gradient in gradients.items():
        model[name] -= np.float32(learning_rate) * gradient
    return losses(probabilities, labels)
