"""The model: scikit-learn's multi-layer perceptron, 64 pixels to 10 digits."""

from sklearn.neural_network import MLPClassifier

from fedn.model.helpers import sklearn as helper

CLASSES = range(10)


def make_estimator(*, seed=0, **settings):
    """A perceptron that has seen nothing; its parameters come from a model file."""
    return MLPClassifier((64,), solver="sgd", momentum=0, random_state=seed, **settings)


def make_model(*, seed):
    """A perceptron with its initial parameters."""
    return helper.initialise(make_estimator(seed=seed), n_features=64, classes=CLASSES)


def load_model(path, **settings):
    """A perceptron with the parameters of a model file."""
    return helper.load(path, into=make_estimator(**settings), classes=CLASSES)
