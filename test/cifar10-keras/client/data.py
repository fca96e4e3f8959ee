"""This client's part of the excerpt of CIFAR-10: disjoint from every other client's, the same in every round.

In a project of your own, this file reads the data that the client has, and needs no parts at all.
"""

import os
from functools import lru_cache

import numpy as np

from fedn.data import cifar10, dirichlet, iid, label_shards
from fedn.errors import FednError

SPLITS = ("iid", "shards", "dirichlet")


def load_train(settings):
    """Images [n, 32, 32, 3] in -1 … 1, and labels [n], to train on."""
    return _load("train", settings["split"], settings["alpha"])


def load_test():
    """As `load_train`, to measure on: a random part of the 1,000 test images, whatever the split."""
    return _load("test", "iid", None)


def partition(labels, parts, split, alpha, seed):
    """Positions of each part's images: docs of `fedn.data` say how each split deals them out."""
    if split == "iid":
        return iid(len(labels), parts, seed=seed)
    if split == "shards":
        return label_shards(labels, parts, seed=seed)
    if split == "dirichlet":
        return dirichlet(labels, parts, alpha=alpha, seed=seed)
    raise SystemExit(f"the client setting split is {split!r}; there are {', '.join(SPLITS)}")


@lru_cache(maxsize=4)  # a worker's next task finds it, whichever part that is for
def _dealt(kind, parts, split, alpha, seed):
    return partition(cifar10(kind).labels, parts, split, alpha, seed)


def _load(kind, split, alpha):
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 5))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    try:
        mine = _dealt(kind, parts, split, alpha, int(os.environ.get("FEDN_SESSION_SEED", 0)))[part]
        images, labels = cifar10(kind)
    except FednError as error:
        raise SystemExit(error.reason) from None
    pixels = images[mine].transpose(0, 2, 3, 1).astype(np.float32)
    return pixels / 127.5 - 1, labels[mine].astype(np.int64)


def varied(images, rng):
    """The images, moved by up to four pixels each way, and half of them mirrored."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    rows = rng.integers(0, 9, (n, 1, 1)) + np.arange(height)[None, :, None]
    columns = np.arange(width)[None, None, :]
    columns = np.where(rng.random((n, 1, 1)) < 0.5, columns, width - 1 - columns) + rng.integers(0, 9, (n, 1, 1))
    return padded[np.arange(n)[:, None, None], rows, columns]
