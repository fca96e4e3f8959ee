"""This client's part of MNIST: disjoint from every other client's, the same in every round.

In a project of your own, this file reads the data that the client has, and needs no parts at all.
"""

import os
from functools import lru_cache

import torch

from fedn.data import dirichlet, iid, label_shards, mnist
from fedn.errors import FednError

SPLITS = ("iid", "shards", "dirichlet")


def load_train(settings):
    """Images [n, 784] in 0 … 1, and labels [n], to train on."""
    return _load("train", settings["split"], settings["alpha"])


def load_test():
    """As `load_train`, to measure on: a random part of the 10,000 test images, whatever the split."""
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
    return partition(mnist(kind).labels, parts, split, alpha, seed)


def _load(kind, split, alpha):
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 10))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    try:
        mine = _dealt(kind, parts, split, alpha, int(os.environ.get("FEDN_SESSION_SEED", 0)))[part]
        images, labels = mnist(kind)
    except FednError as error:
        raise SystemExit(error.reason) from None
    pixels = torch.from_numpy(images[mine]).flatten(1).float()
    return pixels / 255, torch.from_numpy(labels[mine]).long()
