"""`fedn sandbox` as a user runs it: the whole network from one command, and nothing left of it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fedn.model.safetensors import load_tensors
from fedn.storage.sqlite import SqliteState
from test.system.network import PUPPET, Network, Role, clean_environ, command, complained, network, until

ROOT = Path(__file__).parents[2]
STOP_S = 5.0  # Ctrl-C stops everything within this time


class Run:
    """One sandbox that runs in the background, and what there is of it in the system."""

    def __init__(self, folder: Path) -> None:
        self.network = Network(folder)
        self.folder = folder

    def start(self, project: Path = PUPPET, *arguments: object, **moves: str) -> Role:
        settings: list[str] = []
        if moves:
            train = {name.removeprefix("part"): move for name, move in moves.items()}
            settings = ["--setting", f"train={json.dumps(train)}", "--setting", f"folder={self.folder}"]
        return self.network.run(
            "sandbox", "sandbox", project, *arguments, *settings, FEDN_COMBINER_RECONNECT_GRACE_S="1"
        )

    @property
    def role(self) -> Role:
        return self.network.roles["sandbox"]

    def pids(self, words: str) -> list[int]:
        """The processes of this run whose command has the words."""
        return [pid for pid, line in self.network.left().items() if words in line]

    def waiting(self, count: int) -> None:
        """Wait until so many trainings wait."""
        until(lambda: len(list(self.folder.glob("waits-*"))) == count or not self.role.alive, f"{count} trainings wait")
        assert self.role.alive, self.role.tail

    def go(self) -> None:
        (self.folder / "go").touch()

    def left(self) -> dict[int, str]:
        return self.network.left()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with network(tmp_path) as made:
        running = Run(tmp_path)
        running.network = made
        yield running


def test_digits_train_in_half_the_bytes(run: Run, tmp_path: Path) -> None:
    out, model, keep = tmp_path / "out.json", tmp_path / "model", tmp_path / "kept"
    size = ["--combiners", 1, "--replicas", 2, "--rounds", 1, "--wire-dtype", "float16", "--compression", "zstd"]
    done = run.start(ROOT / "test" / "digits", *size, "--json", out, "--model", model, "--keep", keep)
    assert done.ends() == 0, done.tail
    result = json.loads(out.read_text())
    assert result["trail_verified"]
    assert result["rounds"][0]["accuracy"] > 0.8
    assert {tensor.dtype for tensor in load_tensors(model).values()} == {np.dtype(np.float32)}
    came = [load_tensors(path) for path in (keep / "pool" / "models").iterdir() if not path.suffix]
    assert {tensor.dtype for tensors in came for tensor in tensors.values()} == {np.dtype(np.float16)}


def test_digits_train_end_to_end(run: Run, tmp_path: Path) -> None:
    out, model, keep = tmp_path / "out.json", tmp_path / "model", tmp_path / "keep"
    size = ["--combiners", 2, "--clients", 5, "--rounds", 3]
    done = run.start(ROOT / "test" / "digits", *size, "--json", out, "--model", model, "--keep", keep)
    assert done.ends() == 0, done.text
    assert not run.left()
    result = json.loads(out.read_text())
    rounds = result.pop("rounds")
    address = result.pop("dashboard")
    target = result.pop("target")
    assert result.pop("wall_s") > sum(line["seconds"] for line in rounds)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    final = hashlib.sha256(model.read_bytes()).hexdigest()
    assert result == {
        "project": "digits",
        "seed": 42,
        "combiners": 2,
        "clients": 5,
        "final_model_id": final,
        "trail_verified": True,
        "memory": None,
    }
    at_last = max(line["accuracy"] for line in rounds)
    assert (target["accuracy"]["wanted"], target["accuracy"]["round"] is not None) == (0.96, at_last >= 0.96)
    assert "target accuracy ≥ 0.96" in done.text
    assert [line.keys() for line in rounds] == [
        {"round", "participants", "seconds", "loss", "accuracy", "model_id"} for _ in range(3)
    ]
    assert [(line["round"], line["participants"]) for line in rounds] == [(1, 5), (2, 5), (3, 5)]
    assert rounds[0]["accuracy"] < rounds[2]["accuracy"]
    assert rounds[2]["accuracy"] > 0.9
    assert rounds[2]["loss"] < rounds[0]["loss"]
    assert rounds[2]["model_id"] == final
    assert "trail verified" in done.text
    assert address in done.text
    logs = {"reducer", "combiner-1", "combiner-2", *(f"client-{k}" for k in range(1, 6))}
    assert {path.stem for path in (keep / "logs").iterdir()} == logs
    for log in (keep / "logs").iterdir():
        assert "Traceback" not in log.read_text(), log.read_text()


def test_one_process_hosts_all_clients_and_gives_the_same_model(run: Run, tmp_path: Path) -> None:
    results = []
    for k, clients in enumerate((["--clients", 4], ["--replicas", 4, "--workers", 2])):
        out, keep = tmp_path / f"{k}.json", tmp_path / f"keep-{k}"
        done = run.start(PUPPET, *clients, "--rounds", 2, "--json", out, "--keep", keep)
        assert done.ends() == 0, done.text
        assert not run.left()
        results.append(json.loads(out.read_text()))
    apart, together = results
    assert apart["final_model_id"] == together["final_model_id"]
    assert [line["participants"] for line in together["rounds"]] == [4, 4]
    assert {path.stem for path in (keep / "logs").iterdir()} == {"reducer", "combiner-1", "combiner-2", "pool"}
    assert apart["memory"] is None
    assert together["memory"]["process"] > 20 * 2**20
    assert "in one process, 2 of which work at a time" in done.text
    assert "peak memory: the pool process" in done.text


def test_the_same_seed_gives_the_same_model_however_many_combiners(run: Run, tmp_path: Path) -> None:
    models = []
    for seed, combiners in ((7, 1), (7, 3), (7, 3), (8, 1)):
        out = tmp_path / "out.json"
        size = ["--combiners", combiners, "--clients", 3, "--rounds", 2]
        done = run.start(PUPPET, *size, "--seed", seed, "--json", out)
        assert done.ends() == 0, done.text
        models.append(json.loads(out.read_text())["final_model_id"])
    assert models[0] == models[1] == models[2]
    assert models[3] != models[0]


def test_two_sandboxes_at_once_do_not_meet(run: Run, tmp_path: Path) -> None:
    size = ["--clients", 2, "--combiners", 1, "--rounds", 1]
    both = [run.network.run(name, "sandbox", PUPPET, *size, "--json", tmp_path / name) for name in ("one", "other")]
    assert [role.ends() for role in both] == [0, 0], [role.text for role in both]
    one, other = (json.loads((tmp_path / role.name).read_text()) for role in both)
    assert one["dashboard"] != other["dashboard"]
    assert [result["rounds"][0]["participants"] for result in (one, other)] == [2, 2]


def to_the_process(role: Role) -> None:
    role.process.send_signal(signal.SIGINT)


def to_the_group(role: Role) -> None:
    os.killpg(role.process.pid, signal.SIGINT)


def again_and_again(role: Role) -> None:
    deadline = time.monotonic() + STOP_S
    while role.alive and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            to_the_group(role)
        time.sleep(0.05)


def hang_up(role: Role) -> None:
    role.process.send_signal(signal.SIGHUP)


def terminate(role: Role) -> None:
    role.process.terminate()


def begun(run: Run) -> None:
    run.role.says("puppet: 2 combiners")


def starting(run: Run) -> None:
    run.role.says("dashboard http")


def connecting(run: Run) -> None:
    until(lambda: run.pids("run client"), "a client was started")


def training(run: Run) -> None:
    run.waiting(3)


@pytest.mark.parametrize(
    ("moment", "interrupt"),
    [
        (begun, to_the_group),
        (starting, to_the_process),
        (connecting, to_the_group),
        (training, to_the_group),
        (training, again_and_again),
        (training, terminate),
        (training, hang_up),
    ],
)
def test_an_interrupt_at_any_time_leaves_nothing(
    run: Run, moment: Callable[[Run], None], interrupt: Callable[[Role], None]
) -> None:
    started = run.start(PUPPET, "--clients", 3, part0="wait", part1="wait", part2="wait")
    moment(run)
    interrupt(started)
    assert started.ends(within=STOP_S) == 130
    assert not run.left()
    assert "Traceback" not in started.text, started.text
    assert started.text.rstrip().endswith("[interrupted]")


ON_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)


def test_ctrl_c_on_a_terminal_stops_everything_and_gives_the_cursor_back(run: Run) -> None:
    controller, terminal = pty.openpty()
    size = ["--clients", "2", "--setting", 'train={"0":"wait","1":"wait"}', "--setting", f"folder={run.folder}"]
    sandbox = [sys.executable, "-m", "fedn", "sandbox", str(PUPPET), *size]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *sandbox],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=clean_environ(run.network.mark, TERM="xterm", COLUMNS="120"),
        start_new_session=True,
    )
    os.close(terminal)
    os.set_blocking(controller, False)
    screen = bytearray()

    def shows(words: bytes) -> bool:
        with suppress(OSError):  # nothing new, or nobody writes any more
            screen.extend(os.read(controller, 2**16))
        return words in screen

    try:
        until(lambda: shows(b"training: client-1, client-2"), "the bar says who trains")
        os.write(controller, b"\x03")
        until(lambda: shows(b"[interrupted]"), "it says that it was interrupted", within=STOP_S)
        assert process.wait(STOP_S) == 130
        assert not run.left()
        assert screen.rindex(b"\x1b[?25h") > screen.rindex(b"\x1b[?25l")  # the cursor is shown again
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_a_client_that_is_killed_in_a_round_costs_only_its_update(run: Run, tmp_path: Path) -> None:
    out, keep = tmp_path / "out.json", tmp_path / "keep"
    moves = {f"part{k}": "wait@1" for k in range(5)}
    done = run.start(PUPPET, "--clients", 5, "--rounds", 3, "--json", out, "--keep", keep, **moves)
    run.waiting(5)
    (victim,) = run.pids("--name client-3 ")
    os.kill(victim, signal.SIGKILL)
    done.says("client-3 was killed by SIGKILL; the others go on")
    run.go()
    assert done.ends() == 0, done.text
    assert not run.left()
    result = json.loads(out.read_text())
    assert [line["participants"] for line in result["rounds"]] == [4, 4, 4]
    assert result["trail_verified"]
    state = SqliteState(keep / "reducer" / "state.db")
    (first,) = state.find("rounds", where={"round": 1, "kind": "train"})
    state.close()
    lines = {line["name"]: (line["status"], line["code"]) for line in first["clients"]}
    assert lines.pop("client-3") == ("failed", "client_lost")
    assert set(lines.values()) == {("accepted", "")}


def test_a_script_whose_client_was_killed_does_not_outlive_the_sandbox(run: Run) -> None:
    done = run.start(PUPPET, "--clients", 2, "--rounds", 1, part0="hang", part1="wait")
    run.waiting(1)
    until(lambda: len(run.network.runs()) == 2, "both train")
    (run.network.address,) = re.findall(r"dashboard (http\S+)/", done.text)
    name = next(name for name, part in run.network.parts().items() if part == 0)
    (victim,) = run.pids(f"--name {name} ")
    os.kill(victim, signal.SIGKILL)
    done.says(f"{name} was killed by SIGKILL")
    assert len(run.pids("train.py")) == 2
    run.go()
    assert done.ends() == 0
    assert not run.left()


def test_a_project_that_always_fails_ends_with_the_clients_words(run: Run) -> None:
    done = run.start(PUPPET, "--clients", 2, "--combiners", 1, part0="exit", part1="exit")
    assert done.ends() == 6
    assert "[quorum_not_met]" in done.text
    assert "entry_point_failed" in done.text
    assert "the puppet fell over" in done.text
    assert "trail verified" not in done.text
    assert "Traceback" not in done.text
    assert not run.left()


def test_a_reducer_that_dies_ends_the_sandbox_with_a_sentence(run: Run) -> None:
    done = run.start(PUPPET, "--clients", 2, "--combiners", 1, part0="wait", part1="wait")
    run.waiting(2)
    for pid in run.pids("run reducer"):
        os.kill(pid, signal.SIGKILL)
    assert done.ends() != 0
    assert "reducer was killed by SIGKILL" in done.text
    assert "Traceback" not in done.text
    assert not run.left()


GOOD = (PUPPET / "fedn.yaml").read_text()
BROKEN: dict[str, tuple[str, str | None, str, int, str]] = {  # file, its content, code, exit code, words
    "no fedn.yaml": ("fedn.yaml", None, "config_invalid", 2, "there is no fedn.yaml"),
    "an unknown key": (
        "fedn.yaml",
        GOOD + "packge: x\n",
        "config_invalid",
        2,
        "fedn.yaml:8: unknown key 'packge'; did you mean 'package'?",
    ),
    "an unknown entry point": (
        "fedn.yaml",
        GOOD.replace("train:", "trian:"),
        "config_invalid",
        2,
        "fedn.yaml:5: unknown entry point 'trian'",
    ),
    "no init_model": (
        "fedn.yaml",
        GOOD.replace("init_model:", "#"),
        "bad_input",
        2,
        "names neither init_model nor the entry point build",
    ),
    "an init_model that is not there": (
        "fedn.yaml",
        GOOD.replace("init_model: python", "init_model: pyhton"),
        "command_missing",
        7,
        "init_model: cannot run 'pyhton'",
    ),
    "an init_model that fails": (
        "init_model.py",
        "raise SystemExit('not today')",
        "entry_point_failed",
        7,
        "init_model",
    ),
    "an init_model that writes garbage": (
        "init_model.py",
        "import sys; open(sys.argv[1], 'w').write('no')",
        "model_invalid",
        2,
        "header",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_project_is_one_sentence(tmp_path: Path, what: str) -> None:
    name, content, code, exit_code, said = BROKEN[what]
    project = tmp_path / "project"
    shutil.copytree(PUPPET, project)
    if content is None:
        (project / name).unlink()
    else:
        (project / name).write_text(content)
    done = command("sandbox", project)
    assert said in complained(done, code=code, exit_code=exit_code)
    assert ("not today" in done.stderr) == (what == "an init_model that fails")


def test_what_cannot_be_done_is_said_before_anything_is_started(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, code, exit_code, said in (
            ([tmp_path / "nowhere"], "config_invalid", 2, "there is no fedn.yaml"),
            ([PUPPET, "--keep", full], "bad_input", 2, "is not empty"),
            ([PUPPET, "--keep", full / "something"], "folder_unusable", 2, "something"),
            ([PUPPET, "--json", full / "something" / "out.json"], "folder_unusable", 2, "something"),
            ([PUPPET, "--model", full / "something" / "model"], "folder_unusable", 2, "something"),
            ([PUPPET, "--port", taken.getsockname()[1]], "port_taken", 5, str(taken.getsockname()[1])),
            ([PUPPET, "--clients-required", 9, "--clients", 2], "config_invalid", 2, "clients_required"),
            ([PUPPET, "--clients", 2, "--replicas", 2], "bad_input", 2, "exclude each other"),
            ([PUPPET, "--workers", 2], "bad_input", 2, "--workers is for --replicas"),
            ([PUPPET, "--clients-required", 0], "config_invalid", 2, "clients_required"),
            ([PUPPET, "--setting", "epochs"], "bad_input", 2, "KEY=VALUE"),
        ):
            done = command("sandbox", *arguments)
            assert said in complained(done, code=code, exit_code=exit_code)
            assert "dashboard" not in done.stdout
