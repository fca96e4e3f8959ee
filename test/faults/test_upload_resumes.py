"""A client is killed in the middle of an upload: the rest is sent by its next life, and nothing is trained twice."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fedn.model.safetensors import write_model
from fedn.package.archive import create
from fedn.package.project import load_project
from test.cutting import CuttingProxy
from test.system.network import Network, free_port, network, until

pytestmark = pytest.mark.system

MIB = 1024 * 1024
ELEMENTS = 2 * MIB  # of four bytes
ALLOWED = 4 * MIB  # of the update pass before the way is blocked
TRAIN = """\
import json, os, pathlib, sys, time
import numpy as np
from fedn.model.helpers import numpy as helper
model_in, out = sys.argv[1:]
settings = json.loads(pathlib.Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text())
with open(settings["folder"] + "/runs", "a") as runs:
    runs.write("{}\\n")
while not os.path.exists(settings["folder"] + "/go"):
    time.sleep(0.01)
drawn = np.random.default_rng(int(os.environ["FEDN_SEED"])).normal(size=helper.load(model_in)["w"].shape)
helper.save(out, {"w": drawn.astype(np.float32)}, num_examples=1)
"""


def test_a_client_that_was_killed_while_it_uploads_goes_on_where_it_was(tmp_path: Path) -> None:
    killed = threading.Event()

    def kill() -> None:
        net.roles["c"].kill()
        killed.set()

    port = free_port()
    way = CuttingProxy(f"127.0.0.1:{port}", up=ALLOWED, cuts=0, on_cut=kill)
    with network(tmp_path) as net, closing(way):
        net.reducer()
        net.ready()
        net.combiner("north", "--port", port, "--advertise", way.address).says("knows combiner north")
        plant(net)
        net.client("c").says("attached to combiner")
        session = net.start(rounds=1, validate=False, settings={"folder": str(tmp_path)})
        until(net.runs, "the training has begun")
        way.cuts = 1
        (tmp_path / "go").touch()
        assert killed.wait(60)
        until(lambda: arrived(tmp_path) >= MIB, "a part of the update is on the combiner's disk")
        kept = arrived(tmp_path)
        before = way.carried_up
        net.client("c").says("attached to combiner", times=2)
        net.finished(session)
        again = way.carried_up - before
        (line,) = net.round(session, 1)["clients"]
        assert line["status"] == "accepted"
        assert len(net.runs()) == 1, "trained once"
        assert again < 4 * ELEMENTS - kept + MIB // 2, "no more than the rest is sent, and what calls need"


def arrived(folder: Path) -> int:
    """The bytes of unfinished blobs at the combiner."""
    return sum(path.stat().st_size for path in (folder / "north" / "blobs" / "incoming").iterdir())


def plant(net: Network) -> None:
    """Upload a package that trains on command, and a seed model of 8 MiB."""
    project = net.folder / "project"
    project.mkdir()
    (project / "train.py").write_text(TRAIN)
    (project / "fedn.yaml").write_text("name: large\nentry_points:\n  train: python train.py\n")
    package, seed = net.folder / "package.tar", net.folder / "seed.safetensors"
    create(load_project(project), package)
    write_model(seed, {"w": np.zeros(ELEMENTS, np.float32)})
    for path, file in (("/context", package), ("/seed", seed)):
        assert net.send(path, file.read_bytes()).is_success
