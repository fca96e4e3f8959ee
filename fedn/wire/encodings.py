"""In which form models and updates travel between a combiner and its clients: docs/encoding.md.

A session asks for encodings by name, a client says which it knows, and takes part only if it knows all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedn.errors import BadInput
from fedn.model.narrow import FLOAT_TYPES

ZSTD = "zstd"
KNOWN = (*FLOAT_TYPES, ZSTD)


@dataclass(frozen=True)
class Encoding:
    """What a session asked for: the dtype of float32 tensors on the wire (a safetensors name), and zstd frames."""

    dtype: str = "F32"
    zstd: bool = False

    @staticmethod
    def of(names: Iterable[str]) -> Encoding:
        """The encoding that these names make. Raises BadInput for one that this version does not know."""
        asked = set(names)
        if unknown := sorted(asked.difference(KNOWN)):
            raise BadInput(f"{unknown[0][:40]!r} is not an encoding that this version of FEDn knows")
        dtypes = [FLOAT_TYPES[name] for name in sorted(asked - {ZSTD})]
        if len(dtypes) > 1:
            raise BadInput(f"{' and '.join(sorted(asked - {ZSTD}))} cannot be asked for at once")
        return Encoding(dtypes[0] if dtypes else "F32", ZSTD in asked)
