"""Fold: sum the accepted updates, exactly, in blocks, in threads, in the order of the client ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.combiner.phases import Phase
from fedn.combiner.phases.publish import Publish
from fedn.combiner.round import Answer, Round
from fedn.combiner.tools import Tools
from fedn.errors import BlobCorrupt, RoundFailed
from fedn.model.safetensors import open_model
from fedn.model.schema import Schema


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
        schema, wire = self.round.schema, self.round.order.encoding.dtype
        if schema is None:
            raise RoundFailed("the round was not staged")
        self.tools.shelf.make_room()
        contributions = [self._contribution(answer, schema, wire) for answer in self.round.accepted()]
        threads, kernel = self.tools.threads, self.tools.kernel
        return fold(contributions, out, schema=schema, wire=wire, threads=threads, kernel=kernel)

    def _contribution(self, answer: Answer, schema: Schema, wire: str) -> Contribution:
        path = self.tools.shelf.find(answer.update)
        if path is None:
            raise BlobCorrupt(f"the accepted update {answer.update} is gone from the disk")
        model = open_model(path, schema=self.round.update_schema)
        # After a restart of this process the ranges are not known any more: look again.
        ranges = self.round.ranges.get(answer.client_id) or check_update(model, schema, wire=wire)
        return Contribution(model, answer.num_examples, ranges)
