"""One model of more than 2^32 bytes through the same code: to a combiner, to a client, its update back, a new model.

Memory is the peak of RssAnon of each process from the upload of the seed to the commit. In the middle of the client's
upload a proxy cuts its connection: it attaches again and goes on from what the combiner has; what went twice is
counted. Reducer, combiner and client are processes of their own; the client is the real one but for its trainer, which
takes the model for its update and changes its last value, so that the model that comes of it is known.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import processor, session, streams
from bench.anonymous import Peak, peak
from bench.command import command
from bench.disk import check_room
from bench.figure import Figure
from bench.network import combiner, free_port, reducer_process, wait_until
from bench.proxy import Passing, Proxy, before
from fedn.cli.processes import Processes
from fedn.cli.reducer_api import ReducerApi
from fedn.client.executor import Fetch, Job
from fedn.client.pool import work
from fedn.config import ClientSettings
from fedn.errors import RoundFailed
from fedn.model.safetensors import canonical_header
from fedn.model.schema import Schema, TensorSpec
from fedn.wire.v1 import combiner_pb2 as pb

GIGABYTES = 5.0  # more than 2^32 bytes
COPIES = 7  # on the disk at most: four at the reducer, two at the combiner, one at the client; and two of the sums
TENSOR = 25_000_000  # values of each tensor but the last
DTYPES = {"F32": np.float32, "F64": np.float64}
MOST_MB = 250.0
TIMEOUT_S = 1800.0
LOOK_S = 0.02
OWN = struct.pack("<f", 0.5)  # over the last bytes of a float32 or a float64: finite in both


def run(*, gigabytes: float = GIGABYTES, single: bool = False) -> list[Figure]:
    """Peaks in MB; seconds of the seed's upload and of the round; what was sent twice, in MB.

    It needs nine models of float64 on the disk; eleven of float32 (`single`), whose sums are twice as large.
    """
    size, dtype = int(gigabytes * 1e9), "F32" if single else "F64"
    check_room(COPIES * size + 2 * size * 8 // np.dtype(DTYPES[dtype]).itemsize)
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name, ExitStack() as stack:
        place, port, own_port = Path(name), free_port(), free_port()
        seed, update = _seed(place / "seed", size, dtype)
        processes = stack.enter_context(Processes(place / "logs"))
        master = reducer_process(processes, place / "reducer", port)
        api = stack.enter_context(ReducerApi(f"http://127.0.0.1:{port}"))
        wait_until(lambda: bool(api.get("/ready")), processes)
        proxy = stack.enter_context(before(own_port))
        there = combiner(
            processes, place / "combiner", "--advertise", proxy.address, reducer=api.address, port=own_port
        )
        client = stack.enter_context(_client(place / "client", api.address))
        session.come_up(processes, api, combiners=1, clients=1)
        pids = {"combiner": [there.process.pid], "client": [client]}
        pids["reducer"] = processor.family(master.process.pid)
        peaks = {role: [stack.enter_context(peak(pid, every_s=LOOK_S)) for pid in of] for role, of in pids.items()}
        planted = time.monotonic()
        session.plant(place, api, seed)
        seed.unlink()
        began, cut = time.monotonic(), Cut(size, proxy)
        proxy.cuts = cut
        found = session.train(api, rounds=1, clients=1, validate=False, timeout_s=TIMEOUT_S)
        ended = time.monotonic()
        if found["rounds"][0]["model"] != update:
            raise RoundFailed(f"the new model is {found['rounds'][0]['model']}, and not the update {update}")
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in found["rounds"][0]["phases"].items())
        return [
            *_of_memory(peaks, gigabytes),
            *_of_cut(cut, proxy, size),
            Figure("seed, uploaded and stored", began - planted, "s", note=f"{gigabytes:g} GB"),
            Figure("round", ended - began, "s", note=phases),
        ]


def _of_memory(peaks: dict[str, list[Peak]], gigabytes: float) -> list[Figure]:
    figures = []
    for role, of in peaks.items():
        largest = max(of, key=lambda each: each.most)
        note = f"before: {largest.at_first / 1e6:.0f} MB; a model of {gigabytes:g} GB"
        figures.append(Figure(f"{role}'s peak", largest.most / 1e6, "MB", MOST_MB, note=note))
    return figures


def _of_cut(cut: Cut, proxy: Proxy, size: int) -> list[Figure]:
    """What went up on the client's connections beyond the update: the one that was cut, and those that came after."""
    if cut.of is None:
        raise RoundFailed("the upload was over before it could be cut")
    later = proxy.connections[cut.known :]
    twice = cut.of.up + sum(each.up for each in later) - size
    note = f"cut after {cut.of.up / 1e6:,.0f} MB; {twice / size:.2%} of the update"
    return [Figure("sent twice after the cut", max(0.0, twice / 1e6), "MB", note=note)]


class Cut:
    """Cuts a connection once: the first that has had a whole model and then sent half of one, which is the client's."""

    def __init__(self, size: int, proxy: Proxy) -> None:
        self.of: Passing | None = None
        self.known = 0  # connections that there were until then
        self._size = size
        self._proxy = proxy

    def __call__(self, passing: Passing) -> bool:
        """Whether to cut it."""
        if self.of is not None or passing.down < self._size or passing.up < self._size / 2:
            return False
        self.of, self.known = passing, len(self._proxy.connections)
        return True


def _seed(path: Path, size: int, dtype: str) -> tuple[Path, str]:
    """Write a model of about so many bytes; returns it and the digest of the update that the client makes of it."""
    values = size // np.dtype(DTYPES[dtype]).itemsize
    counts = [TENSOR] * (values // TENSOR) + ([values % TENSOR] if values % TENSOR else [])
    schema = Schema(tuple(TensorSpec(f"{k:04d}.weight", dtype, (count,)) for k, count in enumerate(counts)))
    some = np.random.default_rng(0).standard_normal(min(values, 2_500_000)).astype(DTYPES[dtype])
    with path.open("wb") as file:
        file.write(canonical_header(schema))
        for begin in range(0, values, len(some)):
            file.write(some[: values - begin].tobytes())
    with path.open("rb", buffering=0) as file:
        return path, streams.Shared.of(file.fileno()).digest(OWN)


@contextmanager
def _client(folder: Path, address: str) -> Iterator[int]:
    """A client in a process of its own; gives its id."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(folder, address), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path, address: str) -> None:
    settings = ClientSettings(name="client", reducer=address, dir=folder)
    asyncio.run(work(settings, lambda *_: Taker()))


@dataclass
class Taker:
    """The trainer: the model becomes the update, but for its last value. There is no second round that misses it."""

    async def prepare(self, command: pb.RunTask, entry_point: str, fetch: Fetch) -> None:
        """Nothing is needed."""

    async def run(self, job: Job) -> None:
        """Take the file."""
        job.model.rename(job.out)
        with job.out.open("r+b") as file:
            file.seek(-len(OWN), 2)
            file.write(OWN)
        job.out.with_name(f"{job.out.name}-metadata").write_text(json.dumps({"num_examples": 1, "metrics": {}}))

    async def stop(self) -> None:
        """Nothing is kept."""


if __name__ == "__main__":
    command(run)()
