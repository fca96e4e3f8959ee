"""Few descriptors, as on a machine with small limits; and none that is lost over many rounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedn.storage.descriptors import OWN
from test.system.network import Network, marked, network, until

LIMIT = OWN + 12
PLACES = 12 - 4
EXTRA = 2


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path) as made:
        made.before["north"] = ["prlimit", f"--nofile={LIMIT}:{LIMIT}", "--"]
        made.reducer()
        made.ready()
        made.combiner()
        made.plant()
        until(lambda: made.get("/")["combiners"], "the combiner is up")
        yield made


def cpu_s(pid: int) -> float:
    """The processor time that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_combiner_with_few_descriptors_takes_as_many_clients_as_it_can_serve(net: Network) -> None:
    first = net.client("many", "--replicas", PLACES)
    net.connected(PLACES)
    net.client("more", "--replicas", EXTRA, "--log-level", "debug")
    net.roles["more"].says("no place for more than")
    net.finished(net.start(rounds=1, clients_required=PLACES, validate=False))
    assert net.get("/")["connected"] == PLACES
    before = cpu_s(net.roles["north"].process.pid)
    refused = net.roles["more"].text.count("no place for more than")
    net.roles["more"].says("no place for more than", times=refused + 1)
    assert cpu_s(net.roles["north"].process.pid) - before < 1, "it does not spin"
    first.stop()
    net.connected(EXTRA)
    net.finished(net.start(rounds=1, clients_required=EXTRA, validate=False))
    assert "Too many open files" not in net.roles["north"].text
    assert net.roles["north"].alive


def test_roles_raise_their_limit(tmp_path: Path) -> None:
    with network(tmp_path) as net:
        net.before["reducer"] = ["prlimit", "--nofile=256:4096", "--"]
        net.reducer()
        net.ready()
        for line in Path(f"/proc/{net.roles['reducer'].process.pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                assert line.split()[3:5] == ["4096", "4096"]


def held(net: Network) -> dict[str, tuple[int, int]]:
    """The descriptors and the threads of each of the roles' processes."""
    return {
        f"{command.split(' --')[0]} {pid}": (
            len(list(where.joinpath("fd").iterdir())),
            len(list(where.joinpath("task").iterdir())),
        )
        for pid, command in marked(net.mark).items()
        if (where := Path(f"/proc/{pid}")).exists()
    }


def files_of(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_sixty_rounds_leave_nothing_open_and_nothing_behind(tmp_path: Path) -> None:
    with network(tmp_path) as net:
        net.up(clients=2)
        folders = [net.folder / name for name in ("north", "c0", "c1")]
        net.finished(net.start(rounds=12, validate=False))
        open_before, left_before = held(net), {folder: files_of(folder) for folder in folders}
        net.finished(net.start(rounds=48, validate=False))
        # a warm-up of 12 rounds may not have seen the fullest of moments, 48 more would leave 48 of anything
        for folder, before in left_before.items():
            assert files_of(folder) <= before + 3, sorted(folder.rglob("*"))
        open_now = held(net)
        assert open_now.keys() == open_before.keys()
        for process, (descriptors, threads) in open_before.items():
            assert open_now[process][0] <= descriptors + 6, process
            assert open_now[process][1] <= threads + 3, process
