"""The files of MNIST (LeCun, Cortes, Burges): from FEDN_DATA_DIR/mnist, or downloaded once, and checked."""

import gzip
import hashlib
import http.client
import os
import urllib.request
import zlib
from pathlib import Path

import numpy as np

SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SHA256 = {  # of the decompressed bytes
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_mnist(kind):
    """Images [n, 784] and labels [n] as bytes; `kind` is "train" (60,000) or "test" (10,000)."""
    prefix = {"train": "train", "test": "t10k"}[kind]
    images, labels = _read(f"{prefix}-images-idx3-ubyte"), _read(f"{prefix}-labels-idx1-ubyte")
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784), np.frombuffer(labels, np.uint8, offset=8)


def _read(name):
    path = _find(f"{name}.gz")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SystemExit(f"{path} cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise SystemExit(f"{path} is not MNIST's {name}: delete it, and it is downloaded again")
    return content


def _find(name):
    given = Path(os.environ.get("FEDN_DATA_DIR", "FEDN_DATA_DIR"), "mnist", name)
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "fedn", "mnist", name)
    for path in (given, kept):
        if path.exists():
            return path
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(SOURCE + name, timeout=30) as reply:
            content = reply.read()
        fresh = kept.with_name(f"{name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(kept)  # whole or not at all, whoever else downloads it now
    except (OSError, http.client.HTTPException) as error:
        raise SystemExit(f"{given} is not there, and {SOURCE}{name} cannot be had: {error}") from None
    return kept
