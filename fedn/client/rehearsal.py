"""One task of each kind without a network: what a client does with a package, and what a combiner then checks.

::

    prepare: unpacked, environment ─▶ start_up ─▶ train ─▶ validate, predict on what train wrote

The package goes the way of a client's (`fedn.client.executor`), so what is refused here would be refused there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedn.aggregation.fold import check_update
from fedn.client.cache import Cache
from fedn.client.executor import Job, PackageExecutor
from fedn.client.outputs import Metadata, check_output, read_metadata, read_metrics
from fedn.client.settings import settings_for
from fedn.client.told import told
from fedn.config import ClientSettings
from fedn.errors import ModelTooLarge, OutputMissing, SchemaMismatch
from fedn.model.predictions import check_predictions
from fedn.model.safetensors import open_model
from fedn.wire.v1 import combiner_pb2 as pb


@dataclass(frozen=True)
class Given:
    """What the network would have sent: package and seed model, and how the session is set up."""

    archive: Path
    digest: str
    model: Path
    settings: dict[str, Any]
    part: int
    seed: int
    time_limit_s: float


@dataclass(frozen=True)
class Trained:
    """What train made; `changed` says whether the model is another one now."""

    model: Path
    metadata: Metadata
    changed: bool


class Rehearsal:
    """A client's work on one package, in a folder of its own."""

    def __init__(self, given: Given, client: ClientSettings, folder: Path) -> None:
        self._given = given
        self._client = client
        self._folder = folder
        self._executor = PackageExecutor(client, Cache(folder))
        size = given.archive.stat().st_size
        self._command = pb.RunTask(
            package=given.digest,
            package_size=size,
            session_id="local",
            round=1,
            seed=given.seed,
            session_seed=given.seed,
            settings=json.dumps(given.settings),
        )

    async def prepare(self, entry_point: str) -> None:
        """Unpack the package and make its environment. Raises what a client would report."""
        if (size := self._given.model.stat().st_size) > self._client.max_model_bytes:
            limit = self._client.max_model_bytes
            raise ModelTooLarge(f"the seed model has {size} bytes; a client's limit is {limit}")

        async def fetch(digest: str, size: int, destination: Path) -> None:  # noqa: ARG001 - as over the network
            shutil.copyfile(self._given.archive, destination)

        await self._executor.prepare(self._command, entry_point, fetch)

    async def start_up(self) -> None:
        """Run `startup`. Raises TaskFailed."""
        await self._executor.start_up(self._job("startup", self._given.model, Path("none")))

    async def train(self) -> Trained:
        """Run `train` on the seed model, and check the update. Raises TaskFailed, UpdateRefused."""
        seed = open_model(self._given.model)
        out = await self._run("train", self._given.model, "out")
        digest = check_output(out)
        update = open_model(out, schema=seed.schema)
        difference = seed.schema.difference(update.schema)
        if difference is not None:
            raise SchemaMismatch(f"train wrote another model than it was given: {difference}")
        check_update(update, seed.schema)
        metadata = read_metadata(out.with_name("out-metadata"))
        return Trained(out, metadata, changed=digest != check_output(self._given.model))

    async def validate(self, model: Path) -> Metadata:
        """Run `validate`, and read what it measured. Raises TaskFailed, UpdateRefused."""
        return read_metrics(await self._run("validate", model, "metrics.json"))

    async def predict(self, model: Path) -> int:
        """Run `predict`; returns the size of what it wrote, in bytes. Raises TaskFailed."""
        return check_predictions(await self._run("predict", model, "predictions.json"))

    async def stop(self) -> None:
        """End what is kept warm."""
        await self._executor.stop()

    async def _run(self, entry_point: str, model: Path, name: str) -> Path:
        out = self._folder / entry_point / name
        await self._executor.run(self._job(entry_point, model, out))
        if not out.exists():
            raise OutputMissing(f"{entry_point} ended well but did not write the file that it was given as <{name}>")
        return out

    def _job(self, entry_point: str, model: Path, out: Path) -> Job:
        folder = self._folder / entry_point
        folder.mkdir()
        settings = folder / "settings.json"
        settings.write_text(settings_for(self._command, self._client.training))
        return Job(
            entry_point=entry_point,
            package=self._given.digest,
            model=model,
            out=out,
            environ=told(self._command, part=self._given.part, settings=settings, client=self._client, ours=os.environ),
            deadline=time.monotonic() + self._given.time_limit_s,
        )
