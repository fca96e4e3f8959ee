"""Publish: the combiner model is lent to the shelf, and the reducer is told.

It is neither synced nor journalled: after a restart the round is folded again, to the same bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fedn.combiner.phases import Phase
from fedn.combiner.round import Round
from fedn.combiner.tools import Tools
from fedn.model.safetensors import digest_of
from fedn.wire import inline


@dataclass
class Publish:
    """The last phase of a round."""

    round: Round
    tools: Tools
    name: str = "publish"

    async def run(self) -> Phase | None:
        """Set the outcome; without updates there is no model, and the reducer judges the quorum."""
        if self.round.sum_file is None:
            self.round.finish()
            return None
        digest, size, content = await asyncio.to_thread(self._shelve)
        self.round.finish(sum_digest=digest, sum_size=size, sum_content=content)
        return None

    def _shelve(self) -> tuple[str, int, bytes]:
        assert self.round.sum_file is not None
        digest, size = digest_of(self.round.sum_file), self.round.sum_file.stat().st_size
        lent = self.round.sum_file.with_name(digest)  # not the round's name: that of another epoch is other bytes
        self.round.sum_file.replace(lent)
        self.tools.shelf.lend(lent, digest)
        return digest, size, inline.of_file(lent)
