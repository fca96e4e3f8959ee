"""Publish: the combiner model goes to the shelf, the journal notes it, the reducer is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fedn.combiner.phases import Phase
from fedn.combiner.round import Round
from fedn.combiner.tools import Tools
from fedn.model.safetensors import digest_of


@dataclass
class Publish:
    """The last phase of a round."""

    round: Round
    tools: Tools
    name: str = "publish"
    sum: tuple[str, int] | None = None

    async def run(self) -> Phase | None:
        """Set the outcome; without updates there is no model, and the reducer judges the quorum."""
        if self.round.sum_file is None:
            self.round.finish()
            return None
        digest, size = await asyncio.to_thread(self._shelve)
        self.round.finish(sum_digest=digest, sum_size=size)
        return None

    def _shelve(self) -> tuple[str, int]:
        assert self.round.sum_file is not None
        if self.sum is None:
            self.sum = (digest_of(self.round.sum_file), self.round.sum_file.stat().st_size)
        digest, size = self.sum
        if self.round.sum_file.exists():  # the first time
            self.round.sum_file.replace(self.tools.shelf.part(digest))
        self.tools.shelf.keep(digest)
        self.tools.journal.publish(self.round.order.round_id, digest)
        return digest, size
