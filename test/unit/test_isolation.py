"""Where an entry point runs: a fresh process, a warm one, or the client's own; the script sees the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from fedn.client import workers as workers_module
from fedn.client.inline import Inline
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Finished, Run
from fedn.client.workers import Workers
from fedn.errors import EntryPointFailed, EntryPointKilled, EntryPointMissing, TaskTimeout
from fedn.package.entry_point import EntryPoint, Isolation
from test.unit.combiner_bench import until

ENVIRON = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
ISOLATIONS = ("process", "worker", "inline")
COMMAND = ("python", "script.py")


class Bench:
    """A package folder, and what runs its script."""

    def __init__(self, folder: Path, isolation: Isolation) -> None:
        self.folder = folder
        self.isolation = isolation
        self.workers = Workers(2)
        self.inline = Inline()
        self.entry = EntryPoint(COMMAND, isolation)
        self.heard: list[str] = []

    async def run(
        self, script: str, *arguments: str, environ: Mapping[str, str] = ENVIRON, limit_s: float = 60
    ) -> Finished:
        (self.folder / "script.py").write_text(script)
        run = Run(COMMAND, arguments, cwd=self.folder, environ=environ, log=self.heard.append)
        match self.isolation:
            case "process":
                return await run_in_process(run, time_limit_s=limit_s)
            case "worker":
                return await self.workers.run(run, self.entry, time_limit_s=limit_s)
            case "inline":
                return await self.inline.run(run, time_limit_s=limit_s)


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    set_up = Bench(tmp_path, request.param)
    yield set_up
    await set_up.workers.stop()


everywhere = pytest.mark.parametrize("bench", ISOLATIONS, indirect=True)
warm = pytest.mark.parametrize("bench", ["worker"], indirect=True)
within = pytest.mark.parametrize("bench", ["inline"], indirect=True)


@everywhere
async def test_a_script_sees_the_same_everywhere(bench: Bench) -> None:
    (bench.folder / "beside.py").write_text("WORD = 'beside'\n")
    script = """
import os, sys, beside
print(__name__, sys.argv[1:], os.getcwd(), os.path.basename(sys.argv[0]), beside.WORD)
print({k: v for k, v in os.environ.items() if k.startswith("FEDN_")}, os.environ.get("HOME"), file=sys.stderr)
"""
    before = dict(os.environ), Path.cwd(), sys.path[:], sys.argv
    for k in range(2):
        done = await bench.run(script, "in", "out", environ=ENVIRON | {"FEDN_ROUND": str(k)})
        assert done.stdout_tail == f"__main__ ['in', 'out'] {bench.folder} script.py beside\n"
        assert done.stderr_tail == f"{{'FEDN_ROUND': '{k}'}} None\n"
    assert bench.heard[0] in (done.stdout_tail.strip(), "{'FEDN_ROUND': '0'} None")
    assert (dict(os.environ), Path.cwd(), sys.path, sys.argv) == before
    sys.modules.pop("beside", None)


@everywhere
@pytest.mark.parametrize(
    ("leaves", "exit_code", "says"),
    [
        ("raise ValueError('no data here')", 1, "ValueError: no data here\n"),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('a word at the end')", 1, "a word at the end\n"),
        ("x = (", 1, "SyntaxError: '(' was never closed\n"),
    ],
)
async def test_a_script_that_fails_says_the_same_everywhere(
    bench: Bench, leaves: str, exit_code: int, says: str
) -> None:
    with pytest.raises(EntryPointFailed) as caught:
        await bench.run(leaves)
    assert caught.value.detail["exit_code"] == exit_code
    tail = caught.value.detail["stderr_tail"]
    assert tail.endswith(says)
    assert "runpy" not in tail
    assert "fedn/client" not in tail
    assert (await bench.run("print('well')")).stdout_tail == "well\n"


@everywhere
@pytest.mark.parametrize("word", ["", "None", "0"])
async def test_a_script_may_say_that_it_ended_well(bench: Bench, word: str) -> None:
    await bench.run(f"import sys; sys.exit({word})")


@everywhere
async def test_a_script_past_its_time_is_reported_with_what_it_said(bench: Bench) -> None:
    go = bench.folder / "go"
    script = f"import os, time; print('begun', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    with pytest.raises(TaskTimeout):
        await bench.run(script, limit_s=2)
    assert "begun" in bench.heard
    go.touch()  # nothing but this ends a script that runs inline; the next waits for it
    assert (await bench.run("print('next')")).stdout_tail == "next\n"


@everywhere
async def test_each_run_has_its_own_output(bench: Bench) -> None:
    for k in range(3):
        done = await bench.run(f"print('line {k}'); import os; os.system('echo child {k}') if {k} else None")
        assert done.stdout_tail.startswith(f"line {k}\n") or "line" in done.stdout_tail
        assert f"line {k - 1}" not in done.stdout_tail


async def test_a_process_is_new_for_each_task_and_leaves_no_child(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "process")
    script = "import os, subprocess; subprocess.Popen(['sleep', '600']); print(os.getpid())"
    pids = {int((await bench.run(script)).stdout_tail) for _ in range(4)}
    assert len(pids) == 4
    assert os.getpid() not in pids
    assert working_in(tmp_path) == []


@warm
async def test_a_worker_is_one_process_that_keeps_its_imports(bench: Bench) -> None:
    (bench.folder / "heavy.py").write_text("loaded = []\n")
    script = (
        "import os, heavy; heavy.loaded.append(1); print(os.getpid(), len(heavy.loaded), 'mine' in globals()); mine = 1"
    )
    said = [(await bench.run(script)).stdout_tail.split() for _ in range(3)]
    assert len({pid for pid, _, _ in said}) == 1
    assert [(count, mine) for _, count, mine in said] == [("1", "False"), ("2", "False"), ("3", "False")]


@warm
async def test_a_worker_is_recycled_after_its_tasks(bench: Bench) -> None:
    bench.entry = EntryPoint(COMMAND, "worker", max_tasks=2)
    pids = [int((await bench.run("import os; print(os.getpid())")).stdout_tail) for _ in range(5)]
    assert [pids[0] == pids[1], pids[1] == pids[2], pids[2] == pids[3], pids[3] == pids[4]] == [
        True,
        False,
        True,
        False,
    ]
    assert not exists(pids[0])


@warm
async def test_a_worker_that_leaks_is_recycled(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (bench.folder / "leak.py").write_text("kept = []\n")
    script = "import os, leak; leak.kept.append(bytearray(60 * 2**20)); print(os.getpid())"
    bench.entry = EntryPoint(COMMAND, "worker", max_memory_mb=150)
    pids = [int((await bench.run(script)).stdout_tail) for _ in range(6)]
    assert 2 <= len(set(pids)) <= 4
    assert "(max_memory_mb: 150)" in caplog.text


@warm
async def test_a_worker_that_is_killed_runs_the_script_once_more_in_another(bench: Bench) -> None:
    flag = bench.folder / "flag"
    script = f"""
import os, signal
print(os.getpid(), flush=True)
if not os.path.exists({str(flag)!r}):
    open({str(flag)!r}, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    await bench.run(script)
    assert len({line for line in bench.heard if line.isdigit()}) == 2
    with pytest.raises(EntryPointKilled, match="SIGKILL, twice"):
        await bench.run("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(EntryPointFailed, match="exit code 7"):
        await bench.run("import os; os._exit(7)")
    await bench.run("import os; os._exit(0)")  # as in a process of its own


@warm
async def test_cancelling_ends_the_worker_and_its_children(bench: Bench) -> None:
    script = (
        "import os, subprocess; p = subprocess.Popen(['sleep', '600']); print(os.getpid(), p.pid, flush=True); p.wait()"
    )
    running = asyncio.create_task(bench.run(script))
    await until(lambda: bool(bench.heard))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await until(lambda: not any(exists(int(pid)) for pid in bench.heard[0].split()))  # the kernel takes a moment
    assert (await bench.run("print('next')")).stdout_tail == "next\n"


@warm
async def test_a_worker_that_traps_sigterm_is_gone_though_we_are_cancelled_in_its_grace(bench: Bench) -> None:
    script = (
        "import os, signal, time; signal.signal(15, lambda *_: print('no', flush=True))\n"
        "print(os.getpid(), flush=True)\nwhile True: time.sleep(0.01)"
    )
    before = len(list(Path("/proc/self/fd").iterdir()))
    running = asyncio.create_task(bench.run(script, limit_s=1))
    await until(lambda: "no" in bench.heard)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not exists(int(bench.heard[0]))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@warm
async def test_a_worker_that_died_while_idle_costs_a_task_nothing(bench: Bench) -> None:
    pid = int((await bench.run("import os; print(os.getpid())")).stdout_tail)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not bench.workers._idle[0].worker.is_alive)
    with pytest.raises(EntryPointKilled, match="twice"):  # both attempts are the task's own
        await bench.run("print('begun', flush=True); import os; os.kill(os.getpid(), 9)")
    assert bench.heard.count("begun") == 2


@warm
async def test_what_a_task_left_running_counts_as_the_workers_memory(bench: Bench) -> None:
    child = "import time; data = bytearray(90 * 2**20); print('filled', flush=True); time.sleep(600)"
    script = (
        "import os, subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE); p.stdout.readline()\n"
        "print(os.getpid(), p.pid)"
    )
    bench.entry = EntryPoint(COMMAND, "worker", max_memory_mb=100)
    pids = (await bench.run(script)).stdout_tail.split()
    await until(lambda: not any(exists(int(pid)) for pid in pids))


@within
async def test_a_script_that_has_no_turn_in_time_says_so(bench: Bench) -> None:
    begun, go = bench.folder / "begun", bench.folder / "go"
    waits = f"open({str(begun)!r}, 'w').close()\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    first = asyncio.create_task(bench.run(f"import os, time\n{waits}"))
    await until(begun.exists)  # the next script is written over this one
    with pytest.raises(TaskTimeout, match="one runs at a time"):
        await bench.run("print('never')", limit_s=0.2)
    go.touch()
    await first
    assert "never" not in bench.heard


@warm
async def test_no_more_workers_than_allowed_are_kept(bench: Bench, tmp_path: Path) -> None:
    pids = []
    for k in range(4):
        bench.folder = tmp_path / str(k)  # another package
        bench.folder.mkdir()
        pids.append(int((await bench.run("import os; print(os.getpid())")).stdout_tail))
    assert [exists(pid) for pid in pids] == [False, False, True, True]


@warm
async def test_an_idle_worker_ends_in_time(bench: Bench) -> None:
    bench.workers = Workers(1, idle_s=0.05)
    pid = int((await bench.run("import os; print(os.getpid())")).stdout_tail)
    await until(lambda: not exists(pid))
    assert workers_module.IDLE_S > 60


@warm
async def test_a_worker_ends_with_its_client(bench: Bench) -> None:
    """However the client ends: the lifeline that only it holds is closed."""
    pid = int((await bench.run("import os; print(os.getpid())")).stdout_tail)
    worker = bench.workers._idle[0].worker
    os.close(worker._lifeline)
    assert await asyncio.wait_for(worker._process.wait(), 30) == -signal.SIGKILL
    worker._lifeline = os.open(os.devnull, os.O_RDONLY)
    assert not exists(pid)
    assert (await bench.run("print('next')")).stdout_tail == "next\n"


async def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    workers = Workers(1)
    (tmp_path / COMMAND[1]).touch()
    run = Run(COMMAND, (), cwd=tmp_path, environ=ENVIRON, python=str(tmp_path / "no-such-python"))
    with pytest.raises(EntryPointMissing, match="no-such-python"):
        await workers.run(run, EntryPoint(COMMAND, "worker"), time_limit_s=30)
    assert len(list(Path("/proc/self/fd").iterdir())) < 200


@within
async def test_inline_is_this_process(bench: Bench) -> None:
    assert (await bench.run("import os; print(os.getpid())")).stdout_tail == f"{os.getpid()}\n"


@pytest.mark.parametrize("isolation", ["process", "worker"])
async def test_the_clients_memory_is_flat_over_many_tasks(tmp_path: Path, isolation: Isolation) -> None:
    bench = Bench(tmp_path, isolation)
    script = "import sys; data = bytearray(20 * 2**20); print('x' * 100_000)"
    for _ in range(10):
        await bench.run(script)
    bench.heard.clear()
    before = resident()
    for _ in range(50):
        await bench.run(script)
        bench.heard.clear()
    await bench.workers.stop()
    assert resident() - before < 4 * 2**20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def exists(pid: int) -> bool:
    """Whether it runs: a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def working_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found
