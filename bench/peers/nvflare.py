"""NVFlare: a provisioned server and a provisioned site per client, each its own process tree, on loopback without TLS.

The job is NVFlare's own FedAvg controller with numpy arrays; a client's script uses the Client API within the site's
job process, as by default. A round is, by the job's server process, from the moment that the controller has the model
(the first) or stores one (the others) until it stores the next; it is not written to disk. `server` is the server with
its job process, `client` one site with its.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench.peers.clock import rounds
from bench.peers.stage import Stage, Work, free_ports, listens

APP = Path(__file__).with_name("apps") / "nvflare"
ADMIN = "admin@bench.org"
PROJECT = "bench"
CLEAR = {"org": "bench", "connection_security": "clear"}
BUILDERS = (
    "workspace.WorkspaceBuilder",
    "static_file.StaticFileBuilder",
    "cert.CertBuilder",
    "signature.SignatureBuilder",
)


def run(work: Work, stage: Stage) -> list[float]:
    """Each round's seconds."""
    (port,) = free_ports(1)
    sites = [f"site-{i + 1}" for i in range(work.clients)]
    description = stage.folder / "project.yml"
    description.write_text(yaml.safe_dump(project(port, sites)))
    provision = [stage.program("nvflare"), "provision", "-p", description, "-w", stage.folder / "kits", "--force"]
    environ = {"HOME": str(stage.folder)}  # it keeps a list of kits there
    stage.finish("provision", provision, environ=environ)
    kits = stage.folder / "kits" / PROJECT / "prod_00"
    stage.start("server", ["bash", kits / "server" / "startup" / "sub_start.sh"], role="server", environ=environ)
    stage.until(lambda: listens(port), "the server listens")
    for i, site in enumerate(sites):
        stage.start(site, ["bash", kits / site / "startup" / "sub_start.sh"], role=f"client-{i}", environ=environ)
    clock = stage.folder / "clock"
    job = [work.clients, work.elements, work.layers, work.rounds, clock]
    words = [stage.python, "submit.py", kits / ADMIN, ADMIN, *job]
    stage.start("submit", words, environ=environ, cwd=APP)
    return rounds(clock, work, stage)


def project(port: int, sites: list[str]) -> dict[str, Any]:
    """What NVFlare makes a startup kit for each participant of."""
    server = {"name": "server", "type": "server", "default_host": "localhost", "fed_learn_port": port} | CLEAR
    admin = {"name": ADMIN, "type": "admin", "role": "project_admin"} | CLEAR
    clients = [{"name": site, "type": "client"} | CLEAR for site in sites]
    options = {
        "workspace.WorkspaceBuilder": {"template_file": ["master_template.yml"]},
        "static_file.StaticFileBuilder": {"config_folder": "config"},
    }
    builders = [{"path": f"nvflare.lighter.impl.{name}", "args": options.get(name, {})} for name in BUILDERS]
    return {
        "api_version": 3,
        "name": PROJECT,
        "description": "benchmark",
        "participants": [server, *clients, admin],
        "builders": builders,
    }
