"""Real processes: what a training script can do to its client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fedn.client.runtime import run_in_process
from fedn.client.verdict import Finished, Run
from fedn.errors import EntryPointFailed, EntryPointKilled, EntryPointMissing, TaskFailed, TaskTimeout

ENVIRON = {"PATH": os.environ["PATH"]}
STARTED = "import os, sys; print('pid', os.getpid(), flush=True)\n"


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After each test: no zombie, no process that works in the test's folder, no open descriptor more."""
    before, children = set(Path("/proc/self/fd").iterdir()), children_of_this_process()
    yield
    assert children_of_this_process() <= children
    assert working_in(tmp_path) == []
    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1  # the listing's own


def children_of_this_process() -> set[int]:
    """Zombies among them; other tests may have left one that is meant to stay."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def working_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink() == folder and int(process.name) != os.getpid():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


async def run_entry_point(
    command: Sequence[str], arguments: Sequence[str], *, cwd: Path, environ: Mapping[str, str], time_limit_s: float
) -> Finished:
    asked = Run(tuple(command), tuple(arguments), cwd=cwd, environ=environ)
    return await run_in_process(asked, time_limit_s=time_limit_s)


async def run(
    folder: Path,
    script: str,
    *arguments: str,
    limit_s: float = 30.0,
    environ: Mapping[str, str] = ENVIRON,
    log: Callable[[str], None] | None = None,
) -> Finished:
    (folder / "script.py").write_text(script)
    asked = Run(("python", "script.py"), arguments, cwd=folder, environ=environ, log=log)
    return await run_in_process(asked, time_limit_s=limit_s)


async def test_a_script_gets_arguments_folder_and_exactly_this_environment(tmp_path: Path) -> None:
    script = "import os, sys; print(sys.argv[1:], os.getcwd(), sorted(os.environ)); print('é', file=sys.stderr)"
    environ = {"FEDN_SEED": "7", "PYTHONUTF8": "1", "LC_CTYPE": "C.UTF-8"}
    finished = await run(tmp_path, script, "in put", "out", environ=environ)
    assert finished.stdout_tail == f"['in put', 'out'] {tmp_path} {sorted(environ)}\n"
    assert finished.stderr_tail == "é\n"
    assert 0 < finished.seconds < 30


async def test_python_is_the_python_that_runs_us(tmp_path: Path) -> None:
    for word in ("python", "python3"):
        (tmp_path / "s.py").write_text("import sys; print(sys.executable)")
        done = await run_entry_point([word, "s.py"], [], cwd=tmp_path, environ={}, time_limit_s=30)
        assert done.stdout_tail.strip() == sys.executable


async def test_a_script_of_the_package_can_be_the_command(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text('#!/bin/sh\necho "$1"\n')
    (tmp_path / "train.sh").chmod(0o755)
    done = await run_entry_point(["./train.sh"], ["a b"], cwd=tmp_path, environ=ENVIRON, time_limit_s=30)
    assert done.stdout_tail == "a b\n"


async def test_stdin_is_empty_and_the_session_its_own(tmp_path: Path) -> None:
    script = "import os, sys; print(repr(sys.stdin.read()), os.getsid(0) == os.getpid() == os.getpgrp())"
    assert (await run(tmp_path, script)).stdout_tail == "'' True\n"


async def test_a_failed_script_reports_its_code_and_the_end_of_stderr(tmp_path: Path) -> None:
    with pytest.raises(EntryPointFailed) as caught:
        await run(tmp_path, "raise SystemError('no data here')")
    assert caught.value.detail["exit_code"] == 1
    assert caught.value.detail["stderr_tail"].endswith("SystemError: no data here\n")
    assert caught.value.reason == "`python script.py` ended with exit code 1: SystemError: no data here"


@pytest.mark.parametrize("command", [["no-such-command"], ["./not-there"], ["./data"], ["."], ["./broken"]])
async def test_a_command_that_is_not_there(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "data").write_text("not executable")
    (tmp_path / "broken").write_text("no interpreter")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(EntryPointMissing):
        await run_entry_point(command, ["x"], cwd=tmp_path, environ=ENVIRON, time_limit_s=30)


async def test_a_folder_that_is_not_there_is_not_the_commands_fault(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="there is no folder") as caught:
        await run_entry_point(["python"], [], cwd=tmp_path / "none", environ=ENVIRON, time_limit_s=30)
    assert type(caught.value) is TaskFailed


async def test_a_killed_script_runs_once_more_with_the_same_seed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
with open("seen", "a") as seen:
    print(os.environ["FEDN_SEED"], sys.argv[1:], file=seen)
if not os.path.exists("once"):
    open("once", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
print("done")
"""
    finished = await run(tmp_path, script, "in", "out", environ={"FEDN_SEED": "41"})
    assert finished.stdout_tail == "done\n"
    assert (tmp_path / "seen").read_text() == "41 ['in', 'out']\n" * 2


async def test_a_script_killed_twice_is_not_run_a_third_time(tmp_path: Path) -> None:
    script = """
import os, sys
open("seen", "a").write("x")
print("why", file=sys.stderr, flush=True)
os.kill(os.getpid(), 9)
"""
    with pytest.raises(EntryPointKilled, match="killed by SIGKILL, twice") as caught:
        await run(tmp_path, script)
    assert (tmp_path / "seen").read_text() == "xx"
    assert caught.value.detail["stderr_tail"] == "why\n"


async def test_a_failed_script_is_not_run_again(tmp_path: Path) -> None:
    with pytest.raises(EntryPointFailed):
        await run(tmp_path, "open('seen', 'a').write('x'); raise SystemExit(3)")
    assert (tmp_path / "seen").read_text() == "x"


async def test_a_hanging_script_is_stopped_and_says_what_it_wrote(tmp_path: Path) -> None:
    script = "import sys, time; print('epoch 1', file=sys.stderr, flush=True); time.sleep(600)"
    started = time.monotonic()
    with pytest.raises(TaskTimeout, match=r"ran past its 0\.7 s") as caught:
        await run(tmp_path, script, limit_s=0.7)
    assert 0.7 <= time.monotonic() - started < 2.5
    assert caught.value.detail["stderr_tail"] == "epoch 1\n"


async def test_a_script_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        await run(tmp_path, script, limit_s=1.0)
    assert 2.9 < time.monotonic() - started < 6


async def test_the_time_limit_holds_for_both_runs_together(tmp_path: Path) -> None:
    script = """
import os, time
if not os.path.exists("once"):
    open("once", "w").close()
    time.sleep(0.5)
    os.kill(os.getpid(), 9)
time.sleep(600)
"""
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        await run(tmp_path, script, limit_s=1.2)
    assert time.monotonic() - started < 2.5


async def test_a_flood_on_both_pipes_neither_blocks_nor_grows(tmp_path: Path) -> None:
    script = """
import os
block = b"x" * 65536
for number in range(1600):
    os.write(2, block)
    os.write(1, block[:32768])
os.write(2, b"the end")
"""
    before, lengths = resident(), set[int]()
    finished = await run(tmp_path, script, log=lambda line: lengths.add(len(line)))
    assert finished.stderr_tail == "x" * (65536 - 7) + "the end"
    assert len(finished.stdout_tail) == 65536
    assert resident() - before < 20 * 2**20
    assert max(lengths) <= 8192


def resident() -> int:
    match = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


async def test_lines_are_told_while_the_script_runs(tmp_path: Path) -> None:
    script = """
import sys, time
print("first", flush=True)
while not __import__("os").path.exists("heard"):
    time.sleep(0.01)
sys.stdout.write("last\\r\\nno newline")
"""
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        (tmp_path / "heard").touch()

    await run(tmp_path, script, log=log)
    assert lines == ["first", "last", "no newline"]


@pytest.mark.parametrize("exit_code", [0, 3])
async def test_a_grandchild_that_holds_the_pipes_goes_with_the_script(tmp_path: Path, exit_code: int) -> None:
    script = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("done", flush=True)
sys.exit({exit_code})
"""
    started = time.monotonic()
    if exit_code:
        with pytest.raises(EntryPointFailed):
            await run(tmp_path, script)
    else:
        assert (await run(tmp_path, script)).stdout_tail == "done\n"
    assert time.monotonic() - started < 5


async def test_a_grandchild_with_a_session_of_its_own_cannot_hold_us(tmp_path: Path) -> None:
    script = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid)
"""
    started = time.monotonic()
    finished = await run(tmp_path, script)
    assert time.monotonic() - started < 5
    os.kill(int(finished.stdout_tail), signal.SIGKILL)
    await until_gone(tmp_path)


async def test_grandchildren_of_a_hanging_script_are_killed_too(tmp_path: Path) -> None:
    script = """
import signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", code])
time.sleep(600)
"""
    with pytest.raises(TaskTimeout):
        await run(tmp_path, script, limit_s=0.7)
    await until_gone(tmp_path)


async def test_cancelling_kills_the_script_and_its_children(tmp_path: Path) -> None:
    script = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"])
time.sleep(600)
"""
    up = asyncio.Event()
    task = asyncio.create_task(run(tmp_path, script, log=lambda _: up.set()))
    await asyncio.wait_for(up.wait(), 30)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 1
    await until_gone(tmp_path)


async def until_gone(folder: Path) -> None:
    """SIGKILL has been sent: the kernel needs a moment."""
    for _ in range(500):
        if not working_in(folder):
            return
        await asyncio.sleep(0.01)


async def test_many_scripts_at_once(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import sys; print(sys.argv[1]); sys.stderr.write('e' * 100_000)")
    calls = (
        run_entry_point(["python", "s.py"], [str(n)], cwd=tmp_path, environ=ENVIRON, time_limit_s=60) for n in range(8)
    )
    assert [f.stdout_tail for f in await asyncio.gather(*calls)] == [f"{n}\n" for n in range(8)]
