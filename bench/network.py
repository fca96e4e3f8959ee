"""The network of a benchmark: its roles as processes of their own, as `fedn run` starts them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedn.cli.processes import Child, Processes, broken
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import ReducerUnreachable, Unavailable

COME_UP_S = 60.0
LOOK_S = 0.1


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def reducer(processes: Processes, folder: Path) -> Iterator[ReducerApi]:
    """A reducer that is ready."""
    port = free_port()
    reducer_process(processes, folder, port)
    with ReducerApi(f"http://127.0.0.1:{port}") as api:
        wait_until(lambda: bool(api.get("/ready")), processes)
        yield api


def reducer_process(processes: Processes, folder: Path, port: int) -> Child:
    """A reducer that starts, with two workers."""
    return processes.start("reducer", ["run", "reducer", "--port", str(port), "--dir", str(folder)], os.environ)


def combiner(processes: Processes, folder: Path, *, reducer: str, port: int = 0, options: Sequence[str] = ()) -> Child:
    """A combiner that starts."""
    where = ["--reducer", reducer, "--dir", str(folder), "--port", str(port), "--name", folder.name]
    return processes.start(folder.name, ["run", "combiner", *where, *options], os.environ)


def wait_until(it_holds: Callable[[], bool], processes: Processes) -> None:
    """Look until it holds. Raises what ended a process, or Unavailable when it takes too long."""
    deadline = time.monotonic() + COME_UP_S
    while time.monotonic() < deadline:
        for dead in processes.newly_dead():
            raise broken(dead)
        try:
            if it_holds():
                return
        except (ReducerUnreachable, Unavailable):
            pass
        time.sleep(LOOK_S)
    raise Unavailable(f"the network was not where it should be after {COME_UP_S:g} s")
