"""Stage: end former rounds, have the model and the package, know the schema, take up what the journal holds.

In a session with a `wire_dtype` the model is rounded to it once, for all clients (docs/encoding.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fedn.combiner.phases import Phase
from fedn.combiner.phases.collect import Collect
from fedn.combiner.round import Answer, Round, WireModel
from fedn.combiner.tools import Tools
from fedn.errors import NotFound
from fedn.model.narrow import convert, narrowed, native
from fedn.model.safetensors import ModelFile, open_model
from fedn.model.schema import Schema
from fedn.wire import inline


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
        answers = await asyncio.to_thread(self._open, path)
        self.round.take_up(answers)
        return Collect(self.round, self.tools)

    def _open(self, path: Path) -> list[Answer]:
        model, dtype = open_model(path), self.round.order.encoding.dtype
        self.round.schema, self.round.update_schema = model.schema, narrowed(model.schema, dtype)
        if not self.tools.journal.begin(self.round.order):
            self.sweep()  # else clients may have uploaded for it what the journal does not have yet
            if self.round.order.kind != "train":
                self.tools.shelf.make_room()  # no updates will come in the place of what is retired
        if self.round.update_schema != model.schema:
            known = self.round.wire_model
            if known is None or self.tools.shelf.find(known.digest) is None:
                self.round.wire_model = self._rounded(model, self.round.update_schema, dtype)
        wire = self.round.wire_model
        sent = self.tools.shelf.find(wire.digest) if wire is not None else path
        if sent is not None:
            self.round.content = inline.of_file(sent, copies=len(self.round.order.participants))
        return self.tools.journal.answers(self.round.order.round_id)

    def _rounded(self, model: ModelFile, schema: Schema, dtype: str) -> WireModel:
        """Lend the model in this dtype to the shelf. Raises BeyondWireDtype.

        Not durable, also where a client's update is the same: the round begins with this after a restart, too.
        """
        out = self.tools.scratch / f"{self.round.order.round_id}.wire"
        digest = convert(model, schema, out, synced=False)
        lent = out.replace(out.with_name(digest))
        self.tools.shelf.lend(lent, digest)
        return WireModel(digest, lent.stat().st_size, tuple(native(model.schema, dtype)))
