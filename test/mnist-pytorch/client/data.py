"""This client's part of MNIST: disjoint from every other client's, the same in every round.

In a project of your own, this file reads the data that the client has, and needs no parts at all.
"""

import os
from pathlib import Path

import numpy as np
import torch
from mnist import read_mnist


def load_train(split):
    """Images [n, 784] in 0 … 1, and labels [n], to train on."""
    return _load("train", split)


def load_test():
    """As `load_train`, to measure on: a random part of the 10,000 test images, whatever the split."""
    return _load("test", "iid")


def partition(labels, parts, split, seed):
    """Positions of each part's images (McMahan et al. 2017, section 3).

    "iid" deals shuffled images out evenly; "shards" sorts them by label, cuts them into two shards
    per part and deals the shards out, so that a part holds few of the ten digits.
    """
    rng = np.random.default_rng(seed)
    if split == "iid":
        return np.array_split(rng.permutation(len(labels)), parts)
    if split == "shards":
        shards = np.array_split(np.argsort(labels, kind="stable"), 2 * parts)
        return [np.concatenate([shards[i] for i in pair]) for pair in rng.permutation(2 * parts).reshape(-1, 2)]
    raise SystemExit(f"the client setting split is {split!r}; there are 'iid' and 'shards'")


def _load(kind, split):
    part, parts = int(os.environ.get("FEDN_PART", 0)), int(os.environ.get("FEDN_PARTS", 10))
    seed = int(os.environ.get("FEDN_SESSION_SEED", 0))
    if part >= parts:
        raise SystemExit(f"this client has part {part} (the first is 0), but there are only {parts} parts")
    cache = Path(f"mnist-{kind}-{split}-{seed}-{part}-of-{parts}.npz")
    if not cache.exists():  # later tasks need not decompress 47 MB
        images, labels = read_mnist(kind)
        mine = partition(labels, parts, split, seed)[part]
        fresh = cache.with_suffix(f".{os.getpid()}.npz")
        np.savez(fresh, images=images[mine], labels=labels[mine])
        fresh.replace(cache)  # whole or not at all, whoever else does it now
    with np.load(cache) as mine:
        return torch.from_numpy(mine["images"]).float() / 255, torch.from_numpy(mine["labels"]).long()
