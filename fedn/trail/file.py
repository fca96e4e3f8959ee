"""A trail as one file: what is in it, and in which order. An uncompressed tar, so that any tool can look into it.

::

    trail.json        {format, records, last, models, newest, finished}
    records.jsonl     every record, oldest first, each as canonical JSON on a line of its own
    blobs/<sha256>    receipts and models, each once, in the order in which the records first name them:
                      a record's model, then its receipt

`models` says which models are there: all, the latest (`newest` is its id), or none; receipts always are. `last` is the
hash of the last record. `finished` gives the rounds of each finished session, so that a trail that lost its end is
found out. Combiner models are not kept by the reducer; the records have their ids and weights.

Equal content gives equal bytes: no time, no owner, one order. Reading is one pass, and nothing is unpacked to disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from fedn.errors import TrailFileInvalid
from fedn.storage.blobs import DIGEST
from fedn.trail.records import Record

Models = Literal["all", "latest", "none"]
MODELS: tuple[Models, ...] = get_args(Models)

FORMAT = "fedn-trail/1"
HEAD = "trail.json"
RECORDS = "records.jsonl"
BLOBS = "blobs/"
LINE_LIMIT_BYTES = 4 * 2**20
END_BYTES = 2 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Head:
    """What `trail.json` says."""

    records: int
    last: str
    models: Models
    newest: str
    finished: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        return {"format": FORMAT} | asdict(self)

    @staticmethod
    def parse(value: Any) -> Head:
        """Raises TrailFileInvalid."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise TrailFileInvalid(f"{HEAD} does not say that the format is {FORMAT}")
        given = {key: value[key] for key in value if key != "format"}
        try:
            head = Head(**given)
        except TypeError:
            raise TrailFileInvalid(f"{HEAD} has other keys than those of {FORMAT}") from None
        head.check()
        return head

    def check(self) -> None:
        """Raise TrailFileInvalid for a value of another kind."""
        digests = all(isinstance(text, str) and DIGEST.fullmatch(text) for text in (self.last, self.newest))
        finished = isinstance(self.finished, dict) and all(_is_count(n) for n in self.finished.values())
        if not (_is_count(self.records) and self.models in MODELS and digests and finished):
            raise TrailFileInvalid(f"{HEAD} has a value that is none")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def padded(size: int) -> int:
    """The bytes of a member: its header, its content, and zeros up to a whole block."""
    return tarfile.BLOCKSIZE + size + padding(size)


def padding(size: int) -> int:
    """How many zeros follow the content."""
    return -size % tarfile.BLOCKSIZE


def blobs_of(record: Record, head: Head) -> Iterator[tuple[str, str]]:
    """What the file holds for a record: ("model" or "receipt", sha256) each."""
    if head.models == "all" or (head.models == "latest" and record["model"] == head.newest):
        yield "model", record["model"]
    if record["receipt"]:
        yield "receipt", record["receipt"]
