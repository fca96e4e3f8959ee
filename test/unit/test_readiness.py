"""The file by which a health check knows whether a role is ready, and `fedn health` that reads it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from fedn.combiner import announce as announcing
from fedn.combiner.announce import announce
from fedn.errors import FolderUnusable, NoCombiner, SessionRunning, Unavailable
from fedn.storage import readiness
from fedn.storage.readiness import OLD_S, Readiness, check
from fedn.wire.rest import async_client
from test.system.network import command, complained
from test.unit.client_bench import bench
from test.unit.combiner_bench import table, until
from test.unit.rest_stub import Reply, RestStub


def reason(file: Path) -> str:
    try:
        check(file)
    except Unavailable as error:
        return error.reason
    return ""


def test_it_is_not_ready_until_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    assert "is not there" in reason(file)
    role = Readiness(file)
    assert reason(file) == "it is starting"
    role.ready()
    assert reason(file) == ""
    role.not_ready("the reducer does not answer")
    assert reason(file) == "the reducer does not answer"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"reason": null}', '{"reason": null, "at": "soon"}', "\xff"])
def test_a_file_of_something_else_is_not_ready(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ready"
    file.write_bytes(content.encode("latin-1"))
    assert "cannot be read" in reason(file)


@pytest.mark.parametrize("age_s", [OLD_S + 1, -3600])
def test_a_file_that_is_not_renewed_says_that_the_process_hangs(tmp_path: Path, age_s: float) -> None:
    file = tmp_path / "ready"
    file.write_text(json.dumps({"reason": None, "at": time.monotonic() - age_s}))
    assert "has not been renewed" in reason(file)


async def test_the_file_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "RENEW_S", 0.001)
    file = tmp_path / "ready"
    role = Readiness(file)
    role.ready()
    keeping = asyncio.create_task(role.keep())
    before = file.read_text()
    await until(lambda: file.read_text() != before)
    assert reason(file) == ""
    keeping.cancel()


async def test_a_disk_that_refuses_later_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    role = Readiness(folder / "ready")
    (folder / "ready").unlink()
    folder.rmdir()
    role.ready()
    assert "is not there" in reason(folder / "ready")


def test_a_file_that_cannot_be_written_at_first_is_told(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="cannot be written"):
        Readiness(tmp_path / "absent" / "ready")


async def test_a_combiner_is_ready_when_the_reducer_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "AGAIN_S", 0.01)
    file = tmp_path / "ready"
    kept = Readiness(file)
    refusal = Reply.error(SessionRunning("a session is running"))
    async with RestStub(refusal) as reducer, async_client(reducer.address) as client:
        announcing_ = announce(
            client,
            name="north",
            identity="id",
            address="host:1",
            readiness=kept,
            orphaned=lambda _: None,
            orphan_s=20.0,
        )
        task = asyncio.create_task(announcing_)
        await until(lambda: "a session is running" in reason(file))
        reducer.replies = [Reply(201)]
        await until(lambda: reason(file) == "")
        reducer.replies = [Reply.error(Unavailable("the store is away"))]
        await until(lambda: "the store is away" in reason(file))
        task.cancel()


async def test_a_client_is_ready_while_it_is_attached(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.reducer.replies = [Reply.error(NoCombiner("no combiner is up"))]
        set_up.live(ready_file=file)
        await until(lambda: reason(file) == "no combiner is up")
        set_up.seat(laid)
        await set_up.attached()
        await until(lambda: reason(file) == "")
        set_up.reducer.replies = [Reply.error(NoCombiner("no combiner is up"))]
        stream = laid.combiner.roster.attached()[0].stream
        assert stream is not None
        stream.close()
        await until(lambda: reason(file) != "")


@pytest.mark.parametrize("role", ["combiner", "client"])
def test_the_command_reads_the_file_that_the_environment_names(tmp_path: Path, role: str) -> None:
    file = tmp_path / "ready"

    def ask() -> subprocess.CompletedProcess[str]:
        return command("health", role, cwd=None, **{f"FEDN_{role.upper()}_READY_FILE": str(file)})

    keeper = Readiness(file)
    assert "it is starting" in complained(ask(), code="unavailable", exit_code=5)
    keeper.ready()
    done = ask()
    assert (done.returncode, done.stdout) == (0, "ready\n")


async def test_the_command_asks_the_reducer_whether_it_is_ready() -> None:
    async def ask(port: int) -> tuple[int, str]:
        done = await asyncio.to_thread(command, "health", "reducer", FEDN_REDUCER_PORT=str(port))
        return done.returncode, done.stdout + done.stderr

    async with RestStub(Reply(200, {"status": "ready"})) as reducer:
        assert await ask(reducer.port) == (0, "ready\n")
        assert (await reducer.call()).path == "/ready"
        reducer.replies = [Reply.error(Unavailable("the state store at mongo:27017 does not answer"))]
        code, said = await ask(reducer.port)
        assert (code, "mongo:27017 does not answer" in said) == (5, True)
        reducer.replies = [Reply(500, ["not", "ours"])]
        assert "answers with status 500" in (await ask(reducer.port))[1]
        port = reducer.port
    code, said = await ask(port)
    assert (code, "does not answer at port" in said) == (5, True)
