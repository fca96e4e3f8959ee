"""Fold: sum the accepted updates, exactly, in blocks, in threads, in the order of the client ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.combiner.phases import Phase
from fedn.combiner.phases.publish import Publish
from fedn.combiner.round import Round
from fedn.combiner.tools import Tools
from fedn.errors import BlobCorrupt, RoundFailed
from fedn.model.safetensors import open_model


@dataclass
class Fold:
    """Updates become one combiner model."""

    round: Round
    tools: Tools
    name: str = "fold"

    async def run(self) -> Phase | None:
        """Write the sums to a file of the round."""
        out = self.tools.scratch / f"{self.round.order.round_id}.sum"
        self.round.weight = await asyncio.to_thread(self._fold, out)
        self.round.sum_file = out
        return Publish(self.round, self.tools)

    def _fold(self, out: Path) -> int:
        contributions = [self._contribution(a.client_id, a.update, a.num_examples) for a in self.round.accepted()]
        return fold(contributions, out, threads=self.tools.threads)

    def _contribution(self, client_id: str, digest: str, num_examples: int) -> Contribution:
        path = self.tools.shelf.find(digest)
        if path is None:
            raise BlobCorrupt(f"the accepted update {digest} is gone from the disk")
        if self.round.schema is None:
            raise RoundFailed("the round was not staged")
        model = open_model(path, schema=self.round.schema)
        # After a restart of this process the ranges are not known any more: look again.
        ranges = self.round.ranges.get(client_id) or check_update(model, self.round.schema)
        return Contribution(model, num_examples, ranges)
