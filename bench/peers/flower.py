"""Flower: a SuperLink, one SuperNode per client and `flwr run`, as in its deployment guide, on loopback without TLS.

The server app and the client apps are subprocesses of these, as by default. A round is, by the server app's clock,
from the end of one aggregation to the end of the next; the first begins when all nodes are there and the strategy
starts. `server` is the SuperLink with its server app, `client` one SuperNode with its client app.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.peers.clock import rounds
from bench.peers.stage import Stage, Work, free_ports, listens

APP = Path(__file__).with_name("apps") / "flower"
LICENSE = Path(__file__).parents[2] / "LICENSE"
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
CONNECTION = '[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'


def run(work: Work, stage: Stage) -> list[float]:
    """Each round's seconds."""
    app, home = stage.folder / "app", stage.folder / "home"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(LICENSE, app)  # Flower packs no app without one
    home.mkdir()
    environ = QUIET | {"FLWR_HOME": str(home)}
    start = _start_http if _has_http(stage) else _start_grpc
    address = start(work, stage, environ)
    (home / "config.toml").write_text(CONNECTION.format(port=address))
    clock = stage.folder / "clock"
    config = {
        "clients": work.clients,
        "layers": work.layers,
        "elements": work.elements,
        "num-server-rounds": work.rounds,
        "clock": f'"{clock}"',
    }
    words = " ".join(f"{key}={value}" for key, value in config.items())
    stage.finish("flwr-run", [stage.program("flwr"), "run", app, "bench", "--run-config", words], environ=environ)
    return rounds(clock, work, stage)


def _has_http(stage: Stage) -> bool:
    """Newer ones speak HTTP at one port, older ones gRPC at three."""
    told = subprocess.run([stage.program("flower-superlink"), "--help"], check=True, capture_output=True, text=True)
    return "--port PORT" in told.stdout


def _start_http(work: Work, stage: Stage, environ: dict[str, str]) -> int:
    port, *own = free_ports(work.clients + 1)
    flags = ["--insecure", "--port", port, "--disable-runtime-dependency-installation"]
    _superlink(stage, [port], flags, environ)
    _supernodes(work, stage, port, lambda i: ["--port", own[i]], environ)
    return port


def _start_grpc(work: Work, stage: Stage, environ: dict[str, str]) -> int:
    apps, fleet, control, *own = free_ports(work.clients + 3)
    at = {"serverappio": apps, "fleet": fleet, "control": control}
    flags: list[object] = [
        "--insecure",
        *(word for api, p in at.items() for word in (f"--{api}-api-address", f"127.0.0.1:{p}")),
    ]
    _superlink(stage, [apps, fleet, control], flags, environ)
    _supernodes(work, stage, fleet, lambda i: ["--clientappio-api-address", f"127.0.0.1:{own[i]}"], environ)
    return control


def _superlink(stage: Stage, ports: list[int], flags: list[object], environ: dict[str, str]) -> None:
    stage.start("superlink", [stage.program("flower-superlink"), *flags], role="server", environ=environ)
    stage.until(lambda: all(map(listens, ports)), "the SuperLink listens")


def _supernodes(
    work: Work, stage: Stage, port: int, own: Callable[[int], list[object]], environ: dict[str, str]
) -> None:
    for i in range(work.clients):
        flags = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--node-config", f"i={i}", *own(i)]
        words = [stage.program("flower-supernode"), *flags]
        stage.start(f"supernode-{i}", words, role=f"client-{i}", environ=environ)
