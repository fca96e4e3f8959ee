"""Virtual environments: real venvs and a real pip, with wheels that are made here instead of an index."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from fedn.client import environment
from fedn.client.environment import Environments, Python
from fedn.client.environment_lock import held, lock_file, ready_file
from fedn.client.requirements import own_requirements
from fedn.errors import EnvironmentFailed, FolderUnusable, PackageInvalid
from fedn.package.project import Manifest
from test.unit.wheels import index_of, wheel

DIGEST = "d" * 64
LOOK = "import {module}; print({module}.__file__)"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that pip can find."""
    return index_of(tmp_path / "index", monkeypatch)


@pytest.fixture
async def environments(tmp_path: Path, index: Path) -> AsyncIterator[Environments]:
    made = Environments(tmp_path / "envs", time_limit_s=120)
    yield made
    await made.stop()


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "package"
    folder.mkdir()
    yield folder
    assert working_in(folder) == []


def working_in(folder: Path) -> list[int]:
    """The processes whose working folder it is, or one in it."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.readlink().is_relative_to(folder) and int(cwd.parent.name) != os.getpid():
                found.append(int(cwd.parent.name))
        except OSError:
            continue
    return found


async def all_ended(processes: Iterable[int]) -> None:
    """Wait for processes that are not our children, and so cannot be reaped by us."""
    for process in processes:
        ended, _, _ = await asyncio.to_thread(select.select, [process], [], [], 30)
        os.close(process)
        assert ended


def manifest(python_env: str | None = "requirements.txt") -> Manifest:
    line = "" if python_env is None else f"python_env: {python_env}\n"
    return Manifest.parse(f"{line}entry_points: {{train: python train.py}}".encode())


def says(python: Python, code: str) -> str:
    environ = python.environ({"PATH": os.environ["PATH"]})
    done = subprocess.run(["python", "-c", code], cwd="/", env=environ, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr


async def test_a_package_gets_what_its_requirements_name_and_the_clients_own_fedn(
    environments: Environments, package: Path, index: Path
) -> None:
    wheel(index, "framework", "1.2")
    wheel(package, "vendored", "3.0")
    (package / "requirements.txt").write_text(
        "# comment\nframework==1.2  # why\n./vendored-3.0-py3-none-any.whl\nfedn==0.33\n"
    )
    python = await environments.python(DIGEST, package, manifest())
    assert python.root is not None
    for module in ("framework", "vendored", "numpy"):
        assert says(python, LOOK.format(module=module)).startswith(str(python.root))
    assert says(python, "import fedn, sys; print(fedn.__version__, sys.executable)").endswith(python.executable)
    assert says(python, LOOK.format(module="fedn.errors")).endswith("fedn/fedn/errors.py")
    assert "No module named 'click'" in says(python, "import click")  # not the client's whole site-packages
    environ = python.environ({"PYTHONHOME": "/x", "PATH": "/usr/bin"})
    assert environ == {"PATH": f"{python.root}/bin:/usr/bin", "VIRTUAL_ENV": str(python.root)}


async def test_an_environment_is_made_once_and_found_by_the_next_process(
    environments: Environments, package: Path, tmp_path: Path
) -> None:
    (package / "requirements.txt").write_text("numpy\n")
    first, same = await asyncio.gather(*(environments.python(DIGEST, package, manifest()) for _ in range(2)))
    assert first == same
    assert first.root is not None
    made = (first.root / "pyvenv.cfg").stat()
    next_life = Environments(tmp_path / "envs", time_limit_s=0.001)  # no time to make anything
    try:
        assert await next_life.python(DIGEST, package, manifest()) == first
        assert (first.root / "pyvenv.cfg").stat() == made
        with pytest.raises(EnvironmentFailed, match=r"not made within 0\.001 s"):
            await next_life.python("e" * 64, package, manifest())
    finally:
        await next_life.stop()


async def test_a_failing_pip_shows_its_last_lines_and_leaves_nothing(
    environments: Environments, package: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8; what failed is tried again by a later task."""
    monkeypatch.setattr(environment, "AGAIN_AFTER_S", 0.0)
    (package / "requirements.txt").write_text("numpy\nnowhere==9\n")
    with pytest.raises(EnvironmentFailed, match=r"No matching distribution found for nowhere==9") as failed:
        await environments.python(DIGEST, package, manifest())
    assert "Could not find a version that satisfies the requirement nowhere==9" in failed.value.detail["stderr_tail"]
    assert list((package.parent / "envs").iterdir()) == []
    wheel(index, "nowhere", "9")
    python = await environments.python(DIGEST, package, manifest())
    assert "nowhere.py" in says(python, LOOK.format(module="nowhere"))


async def test_of_many_clients_in_one_process_one_tries_again_what_has_failed(
    package: Path, index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fedn.client.environment")
    environments = Environments(tmp_path / "envs", time_limit_s=120)
    (package / "requirements.txt").write_text("nowhere==9\n")
    for _ in range(3):
        with pytest.raises(EnvironmentFailed, match="nowhere==9") as failed:
            await environments.python(DIGEST, package, manifest())
        assert "nowhere==9" in failed.value.detail["stderr_tail"]
    assert caplog.text.count("making the virtual environment") == 1
    await environments.stop()


async def test_without_python_env_or_with_no_env_the_clients_python_runs_the_scripts(
    environments: Environments, package: Path, tmp_path: Path
) -> None:
    assert await environments.python(DIGEST, package, manifest(None)) == Python(sys.executable, None)
    off = Environments(tmp_path / "none", time_limit_s=1, enabled=False)
    python = await off.python(DIGEST, package, manifest())
    assert python == Python()
    assert python.environ({"A": "b"}) == {"A": "b"}
    assert not (tmp_path / "none").exists()


async def test_a_plugin_that_needs_fedn_gets_the_clients_own_or_is_refused(
    environments: Environments, package: Path, index: Path
) -> None:
    wheel(index, "fedn", "0.33.0")  # upstream's
    wheel(index, "plugin", "1.0", requires="fedn")
    wheel(index, "plugin", "2.0", requires="fedn>=0.33")
    (package / "requirements.txt").write_text("plugin<2\n")
    python = await environments.python(DIGEST, package, manifest())
    assert says(python, LOOK.format(module="fedn")) == f"{python.root}/fedn/fedn/__init__.py"
    (package / "requirements.txt").write_text("plugin==2.0\n")
    with pytest.raises(EnvironmentFailed) as failed:
        await environments.python("e" * 64, package, manifest())
    assert "plugin 2.0 depends on fedn>=0.33" in failed.value.detail["stderr_tail"]


async def test_upstreams_python_env_yaml(environments: Environments, package: Path, index: Path) -> None:
    wheel(index, "framework", "1.2")
    wheel(index, "builder", "1.0")
    (package / "python_env.yaml").write_text(
        "name: mnist\nbuild_dependencies:\n  - builder\ndependencies:\n  - framework==1.2\n  - fedn==0.33.0\n"
    )
    python = await environments.python(DIGEST, package, manifest("python_env.yaml"))
    assert "framework.py" in says(python, "import builder; " + LOOK.format(module="framework"))


async def test_a_file_that_cannot_be_read_is_the_packages_fault(environments: Environments, package: Path) -> None:
    with pytest.raises(PackageInvalid, match=r"in the package, python_env: .*requirements.txt: No such file"):
        await environments.python(DIGEST, package, manifest())


async def test_an_env_dir_that_cannot_be_made_is_named(package: Path, index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (package / "requirements.txt").touch()
    with pytest.raises(FolderUnusable, match=r"file/envs \(env_dir\) cannot be written: Not a directory"):
        await Environments(tmp_path / "file/envs", time_limit_s=9).python(DIGEST, package, manifest())


async def started(package: Path, script: str, folder: Path) -> asyncio.subprocess.Process:
    """Another client's process, which asks for the environment and says so on its stdout."""
    code = (
        "import asyncio, json, sys\nfrom pathlib import Path\nfrom fedn.client.environment import Environments\n"
        "from fedn.package.project import Manifest\n"
        f"envs, package = Environments(Path({str(folder)!r}), time_limit_s=120), Path({str(package)!r})\n"
        "manifest = Manifest.parse(b'python_env: requirements.txt\\nentry_points: {train: python train.py}')\n"
        f"async def main():\n    python = await envs.python({DIGEST!r}, package, manifest)\n{script}\n"
        "asyncio.run(main())"
    )
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)


def gate(index: Path, package: Path) -> Path:
    """A source package whose building waits until something is written to the returned pipe."""
    source, pipe = package / "slow", index / "gate"
    source.mkdir()
    os.mkfifo(pipe)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    made = wheel(index, "slow", "1.0")
    (source / "backend.py").write_text(
        "import shutil\n"
        "def build_wheel(to, config=None, metadata=None):\n"
        f"    open({str(index / 'building')!r}, 'a').write('.')\n"
        f"    open({str(pipe)!r}).read()\n"
        f"    shutil.copy({str(made)!r}, to)\n    return {made.name!r}\n"
    )
    (package / "requirements.txt").write_text("./slow\n")
    return pipe


async def opened(pipe: Path) -> None:
    """Wait until a builder waits at the gate, and let it through."""
    await asyncio.to_thread(lambda: pipe.open("w").close())


async def test_two_processes_at_once_make_it_once(package: Path, index: Path, tmp_path: Path) -> None:
    pipe = gate(index, package)
    processes = [await started(package, "    print(python.executable)", tmp_path / "envs") for _ in range(2)]
    await opened(pipe)
    said = [(await process.communicate())[0].decode() for process in processes]
    assert said[0] == said[1] != ""
    assert (index / "building").read_text() == "."


async def test_the_making_outlives_the_task_that_asked(environments: Environments, package: Path, index: Path) -> None:
    pipe = gate(index, package)
    asking = asyncio.create_task(environments.python(DIGEST, package, manifest()))
    writer = await asyncio.to_thread(pipe.open, "w")  # the builder is at the gate
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    writer.close()
    python = await environments.python(DIGEST, package, manifest())
    assert "slow.py" in says(python, LOOK.format(module="slow"))
    assert (index / "building").read_text() == "."


async def test_a_stopping_client_ends_what_it_is_making(environments: Environments, package: Path, index: Path) -> None:
    pipe = gate(index, package)
    asking = asyncio.create_task(environments.python(DIGEST, package, manifest()))
    writer = await asyncio.to_thread(pipe.open, "w")
    makers = [os.pidfd_open(pid) for pid in working_in(package)]
    await environments.stop()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await all_ended(makers)  # though nobody opens the gate
    writer.close()
    assert list((package.parent / "envs").glob("*/ready")) == []


async def test_after_a_builder_was_killed_the_environment_is_made_anew(
    environments: Environments, package: Path, index: Path
) -> None:
    """kill -9 of everything that makes it: the half that is left has no mark, and is not trusted."""
    pipe = gate(index, package)
    process = await started(package, "    pass", package.parent / "envs")
    writer = await asyncio.to_thread(pipe.open, "w")
    makers = {pid: os.pidfd_open(pid) for pid in working_in(package)}
    for pid in [process.pid, *makers]:
        os.kill(pid, signal.SIGKILL)
    await process.wait()
    await all_ended(makers.values())
    writer.close()
    [half] = (path for path in (package.parent / "envs").iterdir() if path.is_dir())
    assert (half / "bin/python").exists()
    (half / "bin/python").unlink()  # it is not merely taken over
    asking = asyncio.create_task(environments.python(DIGEST, package, manifest()))
    await opened(pipe)
    assert "slow.py" in says(await asking, LOOK.format(module="slow"))
    assert (index / "building").read_text() == ".."


def fake(root: Path, name: str, age_s: float, *, ready: bool = True) -> Path:
    place = root / name
    (place / "bin").mkdir(parents=True)
    lock_file(place).touch()
    if ready:
        ready_file(place).touch()
        os.utime(ready_file(place), (time.time() - age_s,) * 2)
    return place


async def test_old_environments_are_removed_and_those_in_use_are_not(
    environments: Environments, package: Path, tmp_path: Path
) -> None:
    root = tmp_path / "envs"
    new = [fake(root, f"new{n}", 10.0 + n) for n in range(environment.KEEP)]
    in_use = fake(root, "used", environment.KEEP_S + 1)
    old = fake(root, "old", environment.KEEP_S + 1)
    half = fake(root, "half", 0, ready=False)
    (package / "requirements.txt").touch()
    with held(in_use):
        python = await environments.python(DIGEST, package, manifest())
    there = {path.name for path in root.iterdir() if path.is_dir()}
    assert there == {python.root and python.root.name, "used", *(place.name for place in new[:-1])}
    assert not old.exists()
    assert not lock_file(half).exists()


async def test_an_environment_that_somebody_deleted_is_made_again(environments: Environments, package: Path) -> None:
    (package / "requirements.txt").touch()
    python = await environments.python(DIGEST, package, manifest())
    assert python.root is not None
    ready_file(python.root).unlink()
    again = await environments.python(DIGEST, package, manifest())
    assert again == python
    assert ready_file(python.root).exists()


def test_fedns_own_requirements_come_from_its_metadata() -> None:
    assert [line.split("<")[0] for line in own_requirements()] == ["ml-dtypes", "numpy"]


async def test_pip_is_given_no_secret(
    environments: Environments, package: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: a package's build is a stranger's code."""
    monkeypatch.setenv("FEDN_ALLIANCE_AUTH_TOKEN", "secret")
    pipe = gate(index, package)
    backend = package / "slow/backend.py"
    dump = index / "environ.json"
    backend.write_text(
        f"import json, os\njson.dump(dict(os.environ), open({str(dump)!r}, 'w'))\n" + backend.read_text()
    )
    asking = asyncio.create_task(environments.python(DIGEST, package, manifest()))
    await opened(pipe)
    await asking
    assert "secret" not in json.loads(dump.read_text()).values()
