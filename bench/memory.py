"""A combiner's anonymous memory in one round of 100 clients × 10 MB, and in one of 10 clients.

The combiner is a process of its own, new for each round; the clients share another, each with its own connection,
and follow a script, with a real client's transfers: fetch the model, upload an update, submit. This process is the
reducer, and watches.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import scripted
from bench.anonymous import high_water, peak
from bench.command import command
from bench.figure import Figure
from bench.network import combiner, free_port, wait_until
from fedn.cli.processes import Processes
from fedn.errors import RoundFailed
from fedn.model.safetensors import digest_of
from fedn.wire.channel import dial
from fedn.wire.transfer import download, upload
from fedn.wire.v1 import control_pb2 as control
from fedn.wire.v1 import control_pb2_grpc

FEW = 10
MANY = 100
PAIRS = 5
BLOB_BYTES = 10_000_000
ROUND_TIMEOUT_S = 300.0
LOOK_S = 2.0
ROUND = "r1"
NOWHERE = "http://127.0.0.1:9"  # a combiner works without its reducer's REST interface


@dataclass(frozen=True)
class Seen:
    """A round at one combiner: bytes, and its seconds."""

    idle: int
    peak: int
    high_water: int
    seconds: float


def run(*, few: int = FEW, many: int = MANY, blob_bytes: int = BLOB_BYTES, pairs: int = PAIRS) -> list[Figure]:
    """Peaks in MB, their ratio, and the seconds of the large round: medians of `pairs` runs, taken in turns."""
    model = scripted.some_model(blob_bytes)
    seen = [(_measure(few, model), _measure(many, model)) for _ in range(pairs)]
    ratios = sorted(large.peak / small.peak for small, large in seen)
    small, large = (median(pair[k].peak for pair in seen) / 1e6 for k in (0, 1))
    seconds = median(pair[1].seconds for pair in seen)
    size = f"{blob_bytes / 1e6:g} MB"
    idle, most = seen[0][0].idle / 1e6, max(pair[1].high_water for pair in seen) / 1e6
    spread = f"peaks of RssAnon; {ratios[0]:.2f} to {ratios[-1]:.2f} in {pairs} pairs"
    rate = f"{many * blob_bytes / 1e6 / seconds:.0f} MB/s of updates, and as much of the model"
    return [
        Figure(f"combiner, {few} × {size}", small, "MB", note=f"before: {idle:.0f} MB"),
        Figure(f"combiner, {many} × {size}", large, "MB", note=f"the kernel's own peak: at most {most:.0f} MB"),
        Figure(f"combiner, {many} to {few}", median(ratios), "×", target=1.2, note=spread),
        Figure(f"round of {many} × {size}", seconds, "s", note=rate),
    ]


def _measure(clients: int, model: bytes) -> Seen:
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, Processes(Path(name) / "logs") as processes:
        place, port = Path(name), free_port()
        child = combiner(processes, place / "combiner", reducer=NOWHERE, port=port)
        address = f"127.0.0.1:{port}"
        wait_until(lambda: scripted.attached(address) == 0, processes)
        (place / "model").write_bytes(model)
        (place / "package").write_bytes(b"nobody unpacks it")
        with scripted.clients(address, place, model, clients):
            wait_until(lambda: scripted.attached(address) == clients, processes)
            with peak(child.process.pid) as seen:
                seconds = asyncio.run(_round(address, place, clients))
            return Seen(seen.at_first, seen.most, high_water(child.process.pid), seconds)


async def _round(address: str, place: Path, clients: int) -> float:
    """The reducer's part: order the round, wait for its outcome, fetch the sums. Returns its seconds."""
    began = time.perf_counter()
    files = {digest_of(path): path for path in (place / "model", place / "package")}
    model, package = files
    request = control.StartRoundRequest(
        term=1,
        round_id=ROUND,
        session_id="s",
        round=1,
        kind=control.ROUND_KIND_TRAIN,
        model=model,
        model_size=files[model].stat().st_size,
        package=package,
        package_size=files[package].stat().st_size,
        participants=[control.Participant(client_id=str(k), part=k, seed=k) for k in range(clients)],
        round_timeout_s=ROUND_TIMEOUT_S,
        settings="{}",
    )
    async with dial(address) as channel:
        reducer = control_pb2_grpc.ControlStub(channel)
        for digest, path in files.items():
            await upload(channel, path, digest=digest)
        await reducer.StartRound(request)
        async for progress in reducer.AwaitRound(control.AwaitRoundRequest(term=1, round_id=ROUND)):
            outcome = progress.outcome
        answers = [client.status for client in outcome.clients]
        if answers != ["accepted"] * clients:
            raise RoundFailed(f"{clients} updates were sent, and came to {answers}")
        await download(channel, digest=outcome.sum, size=outcome.sum_size, destination=place / "sums")
        await reducer.EndRound(control.EndRoundRequest(term=1, round_id=ROUND, committed=True))
    return time.perf_counter() - began


if __name__ == "__main__":
    command(run)()
