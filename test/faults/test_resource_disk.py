"""The disk of one role is full for a while, in the middle of a session: it is said, nothing is lost, work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.faults.small_disk import Disk, small_disk
from test.faults.undisturbed import as_if_undisturbed
from test.system.network import Network, network, until

BOTH = ("c0", "c1")
PADDING = 100_000  # floats: a model of 400 kB, and a sum of 800 kB
MEGABYTES = 8


@dataclass
class Site:
    net: Network
    disks: dict[str, Disk]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("disks")
    with ExitStack() as stack:
        disks = {name: stack.enter_context(small_disk(folder / name, MEGABYTES)) for name in ("reducer", "north", "c0")}
        net = stack.enter_context(network(folder))
        net.reducer()
        net.ready()
        net.combiner()
        net.plant(padding=PADDING)
        until(lambda: net.get("/")["combiners"], "the combiner is up")
        for name in BOTH:
            net.client(name)
        net.connected(2)
        yield Site(net, disks)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    for leftover in ("runs", "go"):
        (running.net.folder / leftover).unlink(missing_ok=True)
    running.net.connected(2)
    yield running
    for disk in running.disks.values():
        disk.empty()
    running.net.stop_sessions()


def says_more(net: Network, name: str, words: str, *, than: int) -> None:
    net.roles[name].says(words, times=than + 1)


def test_a_clients_disk_is_full_when_it_downloads(site: Site, tmp_path: Path) -> None:
    site.disks["c0"].fill()
    session = site.net.start(rounds=1, settings=site.net.moves())
    site.net.roles["c0"].says("No space left on device")
    site.disks["c0"].empty()
    as_if_undisturbed(site.net, site.net.finished(session), tmp_path, names=BOTH)


def test_a_client_whose_disk_stays_full_says_so_when_its_time_is_up(site: Site, tmp_path: Path) -> None:
    site.disks["c0"].fill()
    session = site.net.finished(site.net.start(rounds=1, clients_required=1, round_timeout=4, validate=False))
    line = site.net.clients_of(session["id"], 1)["c0"]
    assert (line["status"], line["code"]) == ("failed", "disk_full")
    assert "No space left on device" in line["reason"]
    site.disks["c0"].empty()
    as_if_undisturbed(site.net, session, tmp_path, names=["c1"])


def test_a_clients_disk_is_full_when_its_script_writes_the_model(site: Site, tmp_path: Path) -> None:
    session = site.net.start(rounds=1, settings=site.net.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(site.net.runs()) == 2, "both train")
    site.disks["c0"].fill()
    (site.net.folder / "go").touch()
    site.net.roles["c0"].says("`python train.py`: OSError: [Errno 28] No space left on device")
    site.disks["c0"].empty()
    as_if_undisturbed(site.net, site.net.finished(session), tmp_path, names=BOTH)


@pytest.mark.parametrize(
    ("room", "where"), [(0, "the blob cannot be stored"), (PADDING * 10, "waits in fold")], ids=["uploads", "fold"]
)
def test_a_combiners_disk_is_full_when_updates_come(site: Site, tmp_path: Path, room: int, where: str) -> None:
    net, said = site.net, site.net.roles["north"].text.count("No space left on device")
    session = net.start(rounds=1, settings=net.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(net.runs()) == 2, "both train")
    site.disks["north"].fill(but=room)
    (net.folder / "go").touch()
    says_more(net, "north", "No space left on device", than=said)
    site.disks["north"].empty()
    as_if_undisturbed(net, net.finished(session), tmp_path, names=BOTH)
    assert len([run for run in net.runs() if run["round"] == 1]) == 2, "nothing was trained twice"
    assert where in "".join(role.text for role in net.roles.values())


def test_the_reducers_disk_is_full_when_the_round_ends(site: Site, tmp_path: Path) -> None:
    net = site.net
    session = net.start(rounds=1, settings=net.moves(c0="wait@1", c1="wait@1"))
    until(lambda: len(net.runs()) == 2, "both train")
    site.disks["reducer"].fill()
    (net.folder / "go").touch()
    net.roles["reducer"].says("No space left on device")
    site.disks["reducer"].empty()
    as_if_undisturbed(net, net.finished(session), tmp_path, names=BOTH)
    assert "trail verified" in net.fedn("trail", "verify").stdout


def test_an_upload_to_a_reducer_whose_disk_is_full_is_refused_and_can_be_made_later(site: Site) -> None:
    package = (site.net.folder / "package.tar").read_bytes()
    site.disks["reducer"].fill()
    for path in ("/context", "/start"):
        answered = site.net.send(path, package) if path == "/context" else site.net.post(path)
        assert (answered.status_code, answered.json()["error"]["code"]) == (507, "disk_full"), answered.text
    site.disks["reducer"].empty()
    assert site.net.send("/context", package).is_success
