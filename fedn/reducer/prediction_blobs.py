"""The predictions of a client on their way through the reducer: from its combiner into the blob store, and out again.

They are in no record of the trail: a prediction makes no model.
"""

from __future__ import annotations

from pathlib import Path

from fedn.model.predictions import MAX_BYTES, check_predictions, check_size
from fedn.reducer.desk import Desk
from fedn.storage.blobs import checked_digest
from fedn.trail.walk import read_through
from fedn.wire.v1 import control_pb2 as control


def predictions_path(desk: Desk, round_id: str, combiner: str, answer: control.ClientOutcome) -> Path:
    """Where to fetch them to. Raises BadInput, OutputInvalid for what a combiner must not have accepted."""
    check_size(answer.size)
    return desk.scratch / f"{round_id}.{combiner}.{checked_digest(answer.update)}"


def keep_predictions(desk: Desk, digest: str, path: Path) -> None:
    """Check them here too, since they are shown as they are, and store them. Raises OutputInvalid."""
    check_predictions(path)
    desk.blobs.put(path, digest)


def read_predictions(desk: Desk, digest: str) -> bytes:
    """The JSON as the entry point wrote it, verified. Raises NotFound, BlobCorrupt, Unavailable."""
    with desk.blobs.open(digest) as stream:
        return read_through(digest, iter(lambda: stream.read(MAX_BYTES), b""), limit=MAX_BYTES)
