"""This client's part of the digits: disjoint from every other client's, the same in every round.

In a project of your own, this file reads the data that the client has, and needs no parts at all.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from fedn.data import iid


def load_train():
    """Images [n, 64] in -1 … 1, and labels [n], to train on."""
    return _load("train")


def load_test():
    """As `load_train`, to measure on: held out from all training."""
    return _load("test")


def split(labels, seed):
    """Positions of the training and the test images: of each digit, a fifth is held out."""
    of_digits = [np.flatnonzero(labels == digit) for digit in range(10)]
    test = np.concatenate([mine[iid(len(mine), 5, seed=seed)[0]] for mine in of_digits])
    return {"train": np.setdiff1d(np.arange(len(labels)), test), "test": test}


def _load(kind):
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 5))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    images, labels = _digits()
    seed = int(os.environ.get("FEDN_SESSION_SEED", 0))
    positions = split(labels, seed)[kind]
    mine = positions[iid(len(positions), parts, seed=seed)[part]]
    return images[mine].astype(np.float32) / 8 - 1, labels[mine]


def _digits():
    """All 1,797 digits; from the second task on, without the second that scikit-learn takes to import."""
    cache = Path("digits.npz")
    if not cache.exists():
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        with tempfile.TemporaryDirectory(dir=".") as folder:
            fresh = Path(folder, "digits.npz")
            np.savez(fresh, images=images.astype(np.uint8), labels=labels)
            fresh.replace(cache)  # whole or not at all, whoever else does it now
    with np.load(cache) as digits:
        return digits["images"], digits["labels"]
