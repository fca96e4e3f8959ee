"""This client's examples. Begin here: let load_train and load_test return your own.

As it is, the clients share the 1,797 handwritten digits that scikit-learn ships.
"""

import os

import numpy as np
from sklearn.datasets import load_digits

from fedn.data import iid

HELD_OUT = 5  # one example in so many is for testing


def load_train():
    """Images [n, 64] in -1 … 1, float32, and labels [n], to train on."""
    images, labels = _load_mine()
    train = np.arange(len(labels)) % HELD_OUT != 0
    return images[train], labels[train]


def load_test():
    """As load_train, to measure on: nobody trains on these."""
    images, labels = _load_mine()
    return images[::HELD_OUT], labels[::HELD_OUT]


def _load_mine():
    """One part of a public data set. A client with data of its own reads them (FEDN_DATA_DIR says where)."""
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 5))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    images, labels = load_digits(return_X_y=True)
    mine = iid(len(labels), parts, seed=int(os.environ.get("FEDN_SESSION_SEED", 0)))[part]
    return images[mine].astype(np.float32) / 8 - 1, labels[mine]
