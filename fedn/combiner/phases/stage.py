"""Stage: end former rounds, have the model and the package, know the schema, take up what the journal holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fedn.combiner.phases import Phase
from fedn.combiner.phases.collect import Collect
from fedn.combiner.round import Answer, Round
from fedn.combiner.tools import Tools
from fedn.errors import NotFound
from fedn.model.safetensors import open_model
from fedn.model.schema import Schema


@dataclass
class Stage:
    """The first phase of a round."""

    round: Round
    tools: Tools
    make_room: Callable[[], Awaitable[None]]
    sweep: Callable[[], None]
    name: str = "stage"

    async def run(self) -> Phase | None:
        """Open the model; accepted updates of an earlier life of this process count."""
        await self.make_room()
        order = self.round.order
        path = self.tools.shelf.find(order.model)
        if path is None or self.tools.shelf.find(order.package) is None:
            raise NotFound("the round's model or package was not sent to this combiner")
        self.round.schema, answers = await asyncio.to_thread(self._open, path)
        self.round.take_up(answers)
        return Collect(self.round, self.tools)

    def _open(self, model: Path) -> tuple[Schema, list[Answer]]:
        schema = open_model(model).schema
        if not self.tools.journal.begin(self.round.order):
            self.sweep()  # else clients may have uploaded for it what the journal does not have yet
        return schema, self.tools.journal.answers(self.round.order.round_id)
