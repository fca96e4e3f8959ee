"""The sandbox's own reducer: it says itself where it is, for a port that is free now may be another's soon."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from fedn.cli.processes import Child, Processes, broken
from fedn.cli.reducer_api import ReducerApi
from fedn.errors import PortTaken, StoreRefused, Unavailable

HOST = "127.0.0.1"
DEFAULT_PORT = 8090
COME_UP_S = 60.0
LOOK_S = 0.05
SAYS = re.compile(r"^reducer at (http://\S+)$", re.MULTILINE)


def start_reducer(processes: Processes, folder: Path, stores: Sequence[str] = (), *, wanted: int | None) -> str:
    """Start a reducer with these options for its stores and wait until it is ready; returns its address.

    Raises PortTaken, Unavailable.

    Without a wanted port it is the default one, or any if that is in use.
    """
    for port in (DEFAULT_PORT, 0) if wanted is None else (wanted,):
        # the address as well: a deployment's .env has its reducer's name in FEDN_REDUCER_HOST
        where = ["--host", HOST, "--port", str(port), "--dir", str(folder)]
        arguments = ["run", "reducer", *where, *stores]
        reducer = processes.start("reducer", arguments, os.environ)
        try:
            return _ready(reducer)
        except PortTaken:
            processes.newly_dead()  # it is no news any more
    raise PortTaken(f"port {wanted} of {HOST} is in use" if wanted else f"no port of {HOST} is free")


def _ready(reducer: Child) -> str:
    deadline, why = time.monotonic() + COME_UP_S, "it has not said where it is"
    while time.monotonic() < deadline:
        if reducer.process.poll() is not None:
            raise PortTaken if reducer.process.returncode == PortTaken.exit_code else broken(reducer)
        said = SAYS.search(reducer.log.read_text(errors="replace"))
        if said is not None:
            why = _not_ready(said[1])
            if not why:
                return said[1]
        time.sleep(LOOK_S)
    raise Unavailable(f"the reducer is not ready after {COME_UP_S:g} s: {why}")


def _not_ready(address: str) -> str:
    """Why it is not ready, or nothing. Raises what time does not mend, such as StoreRefused."""
    try:
        with ReducerApi(address) as api:
            api.get("/ready")
    except StoreRefused:
        raise
    except Unavailable as error:
        return error.reason
    return ""
