"""A trainer that takes more memory than its client's control group has, and is killed by the kernel."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from test.faults.undisturbed import as_if_undisturbed
from test.system.network import Network, network

LIMIT_BYTES = 400 * 2**20
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextmanager
def little_memory() -> Iterator[list[str]]:
    """What a command is started under, to share this little with all that it starts."""
    root, limit = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V2, "memory.max")
    group = root / f"fedn-{secrets.token_hex(4)}"
    if os.geteuid() != 0:
        pytest.fail("a control group is made, which needs root; CI has it")
    group.mkdir()
    try:
        if not (group / limit).exists():
            pytest.fail(f"the control groups in {root} do not limit memory")
        (group / limit).write_text(str(LIMIT_BYTES))
        with suppress(OSError):  # a machine without swap may not have them
            for name, value in (("memory.swappiness", 0), ("memory.swap.max", 0)):
                if (group / name).exists():
                    (group / name).write_text(str(value))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with little_memory() as under, network(tmp_path_factory.mktemp("memory")) as made:
        made.before["c0"] = under
        made.up(clients=2)
        yield made


def test_a_trainer_that_the_kernel_killed_is_run_once_more(net: Network, tmp_path: Path) -> None:
    session = net.finished(net.start(rounds=1, settings=net.moves(c0="eat once")))
    as_if_undisturbed(net, session, tmp_path, names=("c0", "c1"))
    assert "was killed by SIGKILL; it is run once more" in net.roles["c0"].text


def test_a_trainer_that_is_killed_twice_is_reported_and_the_round_goes_on(net: Network, tmp_path: Path) -> None:
    session = net.finished(net.start(rounds=1, clients_required=1, settings=net.moves(c0="eat")))
    line = net.clients_of(session["id"], 1)["c0"]
    assert (line["status"], line["code"]) == ("failed", "entry_point_killed")
    assert "killed by SIGKILL, twice; the system does so to what takes too much memory" in line["reason"]
    as_if_undisturbed(net, session, tmp_path, names=["c1"])
    assert net.roles["c0"].alive
