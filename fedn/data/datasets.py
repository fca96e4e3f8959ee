"""MNIST, and an excerpt of CIFAR-10."""

from __future__ import annotations

import gzip
import os
import tarfile
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

from fedn.data.files import Bytes, DataFile, fetching, read
from fedn.errors import DataMissing

Folder: TypeAlias = str | os.PathLike[str]
Kind: TypeAlias = Literal["train", "test"]

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_RECORD = 1 + 3 * 32 * 32  # a label, and an image


class Examples(NamedTuple):
    """Images [n, …] and labels [n], as bytes: read-only, and mapped from a file (index, then convert)."""

    images: Bytes
    labels: Bytes


def mnist(kind: Kind, folder: Folder | None = None) -> Examples:
    """MNIST (LeCun, Cortes, Burges): "train" is 60,000 images [n, 28, 28], "test" 10,000; 0 is the paper.

    From the four files of the original names in `folder`/mnist, or in FEDN_DATA_DIR/mnist, or
    downloaded once (11 MB). Raises DataMissing and DataInvalid.
    """
    images, labels = (read(file, folder, partial(_download, file.url)) for file in MNIST[kind])
    return Examples(images[16:].reshape(-1, 28, 28), labels[8:])


def cifar10(kind: Kind, folder: Folder | None = None) -> Examples:
    """An excerpt of CIFAR-10 (Krizhevsky 2009): images [n, 3, 32, 32], red, green, blue; ten classes.

    "train" is the first training batch (10,000 images), "test" the first 1,000 test images. From
    `folder`/cifar10 or FEDN_DATA_DIR/cifar10 (data_batch_1.bin.gz, test_batch_1000.bin.gz), or cut once
    out of a download of the whole (170 MB). Raises DataMissing and DataInvalid.
    """
    file, member = CIFAR10[kind]
    records = read(file, folder, partial(_excerpt, file.url, member, file.size)).reshape(-1, CIFAR10_RECORD)
    return Examples(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


def _download(url: str) -> bytes:
    with fetching(url) as reply:
        return gzip.decompress(reply.read())


def _excerpt(url: str, member: str, size: int) -> bytes:
    """The first `size` bytes of one file of an archive, which is read no further than that."""
    try:
        with fetching(url) as reply, tarfile.open(fileobj=reply, mode="r|gz") as archive:
            for entry in archive:
                if PurePosixPath(entry.name).name == member and (content := archive.extractfile(entry)):
                    return content.read(size)
    except tarfile.TarError as error:
        raise DataMissing(f"{url} cannot be read: {error}") from error
    raise DataMissing(f"{url} holds no {member}")


def _mnist(name: str, size: int, sha256: str) -> DataFile:
    return DataFile(f"mnist/{name}", size, sha256, f"{MNIST_URL}{name}.gz")


MNIST = {
    "train": (
        _mnist(
            "train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        _mnist("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    "test": (
        _mnist("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        _mnist("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
}

CIFAR10 = {
    "train": (
        DataFile(
            "cifar10/data_batch_1.bin",
            10_000 * CIFAR10_RECORD,
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            CIFAR10_URL,
        ),
        "data_batch_1.bin",
    ),
    "test": (
        DataFile(
            "cifar10/test_batch_1000.bin",
            1_000 * CIFAR10_RECORD,
            "8314c96d7cd65618193bab23acdd5d4c4af15bf6dd00a1781d55beedf3be1ef5",
            CIFAR10_URL,
        ),
        "test_batch.bin",
    ),
}
