"""The "2NN" of McMahan et al. 2017: two hidden layers of 200 units, 199,210 parameters."""

from torch import nn


def new_model():
    return nn.Sequential(
        nn.Linear(784, 200), nn.ReLU(),
        nn.Linear(200, 200), nn.ReLU(),
        nn.Linear(200, 10),
    )  # fmt: skip
