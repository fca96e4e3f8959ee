"""One training round at one combiner, ordered as the reducer does it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from fedn.errors import RoundFailed
from fedn.model.safetensors import digest_of
from fedn.wire.channel import dial
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1 import control_pb2_grpc

ROUND = "r1"
NOWHERE = "http://127.0.0.1:9"  # a combiner works without its reducer's REST interface
ROUND_TIMEOUT_S = 600.0


async def order_round(address: str, place: Path, names: Sequence[str]) -> tuple[float, float]:
    """A round of `place/model` among these clients: when it was ordered and when its outcome came, by time.monotonic.

    The sums go to `place/sums`.

    Raises RoundFailed unless all of them had their update accepted.
    """
    model, package = place / "model", place / "package"
    digests = {path: digest_of(path) for path in (model, package)}
    request = control.StartRoundRequest(
        term=1,
        round_id=ROUND,
        session_id="s",
        round=1,
        kind=control.ROUND_KIND_TRAIN,
        model=digests[model],
        model_size=model.stat().st_size,
        package=digests[package],
        package_size=package.stat().st_size,
        participants=[control.Participant(client_id=name, part=k, seed=k) for k, name in enumerate(names)],
        round_timeout_s=ROUND_TIMEOUT_S,
        settings="{}",
    )
    async with dial(address) as channel:
        reducer = control_pb2_grpc.ControlStub(channel)
        for path, digest in digests.items():
            await upload(channel, path, digest=digest)
        ordered = time.monotonic()
        await reducer.StartRound(request)
        async for progress in reducer.AwaitRound(control.AwaitRoundRequest(term=1, round_id=ROUND)):
            outcome = progress.outcome
        came = time.monotonic()
        answers = [client.status for client in outcome.clients]
        if answers != ["accepted"] * len(names):
            raise RoundFailed(f"{len(names)} updates were sent, and came to {answers}")
        await download(channel, digest=outcome.sum, size=outcome.sum_size, destination=place / "sums")
        await reducer.EndRound(control.EndRoundRequest(term=1, round_id=ROUND, committed=True))
    return ordered, came
