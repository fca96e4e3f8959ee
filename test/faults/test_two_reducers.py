"""Two reducers on the same stores: one leads; when it is killed the other goes on, and all find it (I1, I4, I9)."""

from __future__ import annotations

from pathlib import Path

from test.faults.undisturbed import as_if_undisturbed
from test.stores import Nx27017, Rclone, running
from test.system.network import free_port, network, until

NAMES = ("c0", "c1", "c2")


def test_the_other_reducer_goes_on_when_the_leader_is_killed_for_good(tmp_path: Path) -> None:
    with (
        running(Nx27017(tmp_path / "nx-27017")) as state,
        running(Rclone(tmp_path / "rclone")) as blobs,
        network(tmp_path) as net,
    ):
        bucket = blobs.server()
        net.stores, net.secrets = ["--state", state.url(), "--blobs", bucket.url], bucket.variables
        leader = net.reducer()
        net.ready()
        leader.says("this worker leads")
        first, other = net.address, f"http://127.0.0.1:{free_port()}"
        standby = net.run(
            "standby",
            *("run", "reducer", "--port", other.rpartition(":")[2], "--workers", 1, "--dir", "standby", "--lease-s", 2),
            *net.stores,
            **net.secrets,
        )
        standby.says("reducer at http")
        net.address = f"{first},{other}"  # as combiners and clients are told
        net.combiner()
        net.address = first
        net.plant()
        until(lambda: net.get("/")["combiners"], "the combiner is up")
        net.address = f"{first},{other}"
        for name in NAMES:
            net.client(name)
        net.address = first
        net.connected(len(NAMES))
        session = net.start(rounds=3, clients_required=3, settings=net.moves(c0="wait@2"))
        until(lambda: len(list(net.folder.glob("waits-*"))) == 1, "round 2 is being trained")
        leader.kill()
        standby.says("this worker leads, term 2")
        net.roles["c1"].kill()
        net.address = f"{first},{other}"
        net.client("c1")  # it asks the first in vain, and finds its seat at the other
        net.address = other
        net.connected(len(NAMES))
        (net.folder / "go").touch()
        as_if_undisturbed(net, net.finished(session), tmp_path, names=NAMES)
        assert net.fedn("trail", "verify").returncode == 0
        assert len(net.runs()) == 9, "nothing was trained twice"
