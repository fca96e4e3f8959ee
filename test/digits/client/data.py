"""This client's part of the digits: disjoint from every other client's, the same in every round.

In a project of your own, this file reads the data that the client has, and needs no parts at all.
"""

import os
from pathlib import Path

import numpy as np

TEST_SHARE = 0.2


def load_train():
    """Images [n, 64] in -1 … 1, and labels [n], to train on."""
    return _load("train")


def load_test():
    """As `load_train`, to measure on: held out from all training."""
    return _load("test")


def split(labels, seed):
    """Positions of the training and the test images: of each digit, a fifth is held out."""
    rng = np.random.default_rng(seed)
    train, test = [], []
    for digit in range(10):
        positions = rng.permutation(np.flatnonzero(labels == digit))
        held_out = round(TEST_SHARE * len(positions))
        test.append(positions[:held_out])
        train.append(positions[held_out:])
    return {"train": rng.permutation(np.concatenate(train)), "test": rng.permutation(np.concatenate(test))}


def _load(kind):
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 5))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    images, labels = _digits()
    mine = split(labels, seed=int(os.environ.get("FEDN_SESSION_SEED", 0)))[kind][part::parts]
    return images[mine].astype(np.float32) / 8 - 1, labels[mine]


def _digits():
    """All 1,797 digits; from the second task on, without the second that scikit-learn takes to import."""
    cache = Path("digits.npz")
    if not cache.exists():
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        fresh = Path(f"digits-{os.getpid()}.npz")
        np.savez(fresh, images=images.astype(np.uint8), labels=labels)
        fresh.replace(cache)  # whole or not at all, whoever else does it now
    with np.load(cache) as digits:
        return digits["images"], digits["labels"]
