"""A client's tasks at a real combiner: what is trained, delivered, delivered again, given up and deleted."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedn.client.cache import keep_newest
from fedn.client.workspace import TrainResult, Workspace
from fedn.errors import Unavailable
from fedn.model.safetensors import load_tensors
from fedn.wire import inline
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import control_pb2 as control
from test.unit.client_bench import Bench, alive, bench
from test.unit.combiner_bench import Table, table, until

ZEROS = {"w": np.zeros(4, np.float32)}


async def line(set_up: Bench, round_id: str = "r1") -> control.ClientOutcome:
    """The client's line in the round's outcome."""
    outcome: control.RoundOutcome = await set_up.laid.outcome(round_id)
    (client,) = outcome.clients
    return client


async def test_a_client_trains_and_validates(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        trained = await line(set_up)
        assert (trained.status, trained.num_examples, dict(trained.metrics)) == ("accepted", 3, {"loss": 0.25})
        update = laid.combiner.shelf.find(trained.update)
        assert update is not None
        assert load_tensors(update)["w"][3] != 0
        await laid.start("c0", round_id="r2", kind="VALIDATE", settings=set_up.settings())
        validated = await line(set_up, "r2")
        assert (validated.status, validated.num_examples) == ("accepted", 5)
        assert dict(validated.metrics) == {"accuracy": 0.5}
        assert [run["kind"] for run in set_up.runs] == ["train", "validate"]


async def test_scripts_are_told_their_task_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FEDN_")]:
        monkeypatch.delenv(name)
    for name in ("FEDN_CLIENT_TOKEN_FILE", "FEDN_MONGO_PASSWORD", "FEDN_MINIO_SECRET_KEY", "FEDN_ME_PASSWORD"):
        monkeypatch.setenv(name, "secret")  # as after sourcing a deployment's .env
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live(parts=8, data_dir=tmp_path / "data")
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        await line(set_up)
        (run,) = set_up.runs
        told = {key: run["told"][key] for key in run["told"] if key != "FEDN_CLIENT_SETTINGS"}
        assert told == {
            "FEDN_PART": "4",
            "FEDN_PARTS": "8",
            "FEDN_SEED": "0",
            "FEDN_SESSION_SEED": "0",
            "FEDN_SESSION": "s",
            "FEDN_ROUND": "1",
            "FEDN_DATA_DIR": str(tmp_path / "data"),
        }


FAILURES = {
    "exit": ("entry_point_failed", "exit code 3"),
    "silent": ("output_missing", "wrote no out"),
    "garbage": ("output_invalid", "not a model"),
    "folder": ("output_invalid", "not a file"),
    "uncounted": ("output_missing", "out-metadata"),
    "kill": ("entry_point_killed", "twice"),
}


@pytest.mark.parametrize("move", FAILURES)
async def test_a_failure_is_reported_with_its_code(tmp_path: Path, move: str) -> None:
    code, reason = FAILURES[move]
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings(move), timeout_s=3600)
        failed = await line(set_up)
        assert (failed.status, failed.code) == ("failed", code)
        assert reason in failed.reason
        assert ("the puppet fell over" in failed.stderr_tail) == (move == "exit")
        await laid.start("c0", round_id="r2", settings=set_up.settings())
        assert (await line(set_up, "r2")).status == "accepted"


@pytest.mark.parametrize(
    ("limit", "code"),
    [({"max_model_bytes": 1024}, "model_too_large"), ({"max_package_bytes": 1024}, "package_too_large")],
)
async def test_what_is_beyond_the_clients_limits_is_not_fetched(
    tmp_path: Path, limit: dict[str, int], code: str
) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, {"w": np.zeros(1000, np.float32)})
        set_up.live(**limit)
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        assert (await line(set_up)).code == code
        assert not set_up.runs


async def test_a_package_without_the_entry_point_or_that_is_none_is_named(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        set_up.live()
        await set_up.attached()
        await laid.stage(ZEROS)  # its package is no archive
        laid.package_size = (tmp_path / "package").stat().st_size
        await laid.start("c0", settings=set_up.settings())
        assert (await line(set_up)).code == "package_invalid"
        await set_up.stage(laid, ZEROS)
        set_up.lives[-1].executor._ready.clear()
        await laid.start("c0", round_id="r2", settings=set_up.settings())
        await line(set_up, "r2")
        package = set_up.lives[-1].executor._ready[laid.package]
        train_only = {"train": package.manifest.entry_points["train"]}
        package.manifest = replace(package.manifest, entry_points=train_only)
        await laid.start("c0", round_id="r3", kind="VALIDATE", settings=set_up.settings())
        assert (await line(set_up, "r3")).code == "entry_point_missing"


@pytest.mark.parametrize("broken", ["fedn.yaml", "puppet.py", "archive", "both"])
async def test_a_package_that_a_power_failure_cut_short_is_mended(broken: str, tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        assert (await line(set_up)).status == "accepted"
        await set_up.die()
        packages = tmp_path / "client" / "packages"
        for path in (packages / f"{laid.package}.tar", packages / laid.package / "puppet.py"):
            if broken in ("both", path.name, "archive" if path.suffix == ".tar" else ""):
                os.truncate(path, 10)
        if broken == "fedn.yaml":
            (packages / laid.package / broken).unlink()
        set_up.live()
        await set_up.attached()
        await laid.start("c0", round_id="r2", settings=set_up.settings())
        assert (await line(set_up, "r2")).status == "accepted"


async def test_a_mistake_of_the_client_ends_its_task_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        monkeypatch.setattr(set_up.live().executor, "run", broken)
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings(), timeout_s=3600)
        failed = await line(set_up)
        assert (failed.code, failed.reason) == ("internal", "on the client: RuntimeError: a mistake")


async def test_a_task_that_is_given_again_while_it_runs_is_not_trained_twice(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings("wait"))
        await until(lambda: set_up.runs)
        (seat,) = laid.combiner.roster.attached()
        assert seat.stream is not None
        seat.stream.close()  # the connection is lost
        await until(lambda: not laid.combiner.roster.attached())
        await set_up.attached()
        set_up.go()
        assert (await line(set_up)).status == "accepted"
        assert len(set_up.runs) == 1


async def test_a_finished_training_is_delivered_by_the_next_life(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        await set_up.die_with_a_finished_training(tmp_path)
        set_up.live()
        delivered = await line(set_up)
        assert delivered.status == "accepted"
        assert len(set_up.runs) == 1
        saved = Workspace(tmp_path / "client").result("r1.c0")
        assert saved is not None
        assert delivered.seconds > saved.seconds


@pytest.mark.parametrize("damage", ["output", "result"])
async def test_a_finished_training_whose_files_are_damaged_is_done_again(tmp_path: Path, damage: str) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        result = await set_up.die_with_a_finished_training(tmp_path)
        if damage == "output":
            os.truncate(next(result.parent.glob("run-*/out")), 3)
        else:
            result.write_text('{"another": "version"}')
        set_up.live()
        assert (await line(set_up)).status == "accepted"
        assert len(set_up.runs) == 2


async def test_an_aborted_round_kills_the_script(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings("hang"))
        await until(lambda: set_up.runs)
        await laid.control.AbortRound(control.AbortRoundRequest(term=1, round_id="r1", reason="stopped"))
        await laid.outcome()
        await until(lambda: not alive(set_up.runs[0]["pid"]))


async def test_stopping_the_client_kills_the_script(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings("hang"))
        await until(lambda: set_up.runs)
        await set_up.die()
        assert not alive(set_up.runs[0]["pid"])


async def test_another_task_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        tasks = set_up.live().tasks
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings("hang"))
        await until(lambda: set_up.runs)
        (seat,) = laid.combiner.roster.attached()
        assert seat.task is not None
        before = seat.task
        tasks.take(pb.RunTask(task_id="another", round_id="elsewhere", kind=before.kind))
        await until(lambda: not alive(set_up.runs[0]["pid"]))
        tasks.take(before)  # it is not over for the combiner
        await until(lambda: len(set_up.runs) == 2)
        tasks.cancel("another", "of no concern here")
        assert alive(set_up.runs[1]["pid"])


async def test_what_a_round_left_is_deleted_when_it_has_ended(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings())
        await line(set_up)
        tasks = tmp_path / "client" / "tasks"
        assert len(list(tasks.iterdir())) == 1
        await laid.control.EndRound(control.EndRoundRequest(term=1, round_id="r1", committed=True))
        await until(lambda: not list(tasks.iterdir()))


async def test_cancelled_tasks_are_swept_as_well(tmp_path: Path) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        for number in range(1, 7):
            await set_up.stage(laid, {"w": np.full(4, number, np.float32)})
            await laid.start("c0", round_id=f"r{number}", settings=set_up.settings("hang"))
            await until(lambda wanted=number: len(set_up.runs) == wanted)  # type: ignore[misc]
        tasks, models = tmp_path / "client" / "tasks", tmp_path / "client" / "models"
        await until(lambda: len(list(tasks.iterdir())) <= 5)
        assert len(list(models.iterdir())) <= 3  # the last two, and the one that is in use


async def test_a_combiner_that_goes_away_gets_the_update_when_it_is_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as until_back:
        first = await until_back.enter_async_context(table(tmp_path))
        async with bench(tmp_path, first) as set_up:
            await set_up.stage(first, ZEROS)
            set_up.live()
            await set_up.attached()
            await first.start("c0", settings=set_up.settings("wait"))
            await until(lambda: set_up.runs)
            await until_back.aclose()
            set_up.go()
            results = tmp_path / "client" / "tasks"
            await until(lambda: list(results.glob("*/result.json")))
            async with table(tmp_path) as laid:
                kept_from(first, laid)
                await laid.start("c0", settings=set_up.settings("wait"))
                set_up.seat(laid)
                assert (await line(set_up)).status == "accepted"
                assert dict((await laid.outcome()).refused) == {}
            assert len(set_up.runs) == 1


@pytest.mark.parametrize(("most_inline", "told"), [(0, "was not taken"), (inline.MOST_BYTES, "was refused")])
async def test_a_combiner_that_does_not_know_the_round_yet_gets_the_update_when_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, most_inline: int, told: str
) -> None:
    monkeypatch.setattr(inline, "MOST_BYTES", most_inline)
    async with AsyncExitStack() as until_back:
        first = await until_back.enter_async_context(table(tmp_path))
        async with bench(tmp_path, first) as set_up:
            await set_up.stage(first, ZEROS)
            set_up.live()
            await set_up.attached()
            await first.start("c0", settings=set_up.settings("wait"))
            await until(lambda: set_up.runs)
            await until_back.aclose()
            async with table(tmp_path) as laid:
                kept_from(first, laid)
                set_up.seat(laid)
                await set_up.attached()
                set_up.go()
                await until(lambda: told in caplog.text)
                await laid.start("c0", settings=set_up.settings("wait"))
                assert (await line(set_up)).status == "accepted"
                assert dict((await laid.outcome()).refused) == {}
            assert len(set_up.runs) == 1


def kept_from(first: Table, laid: Table) -> None:
    """What was staged in the combiner's first life is still there."""
    laid.model, laid.model_size = first.model, first.model_size
    laid.package, laid.package_size = first.package, first.package_size


async def test_a_result_that_nobody_takes_is_given_up_when_the_task_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()
        await laid.start("c0", settings=set_up.settings("exit"), timeout_s=0.6)

        async def away(*_: object) -> pb.Receipt:
            raise Unavailable("not now")

        monkeypatch.setattr(laid.combiner._intake, "submit", away)
        assert (await line(set_up)).status == "missing"


async def test_a_refused_result_is_logged_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with table(tmp_path) as laid, bench(tmp_path, laid) as set_up:
        await set_up.stage(laid, ZEROS)
        set_up.live()
        await set_up.attached()

        async def refuse(*_: object) -> pb.Receipt:
            return pb.Receipt(accepted=False, code="wrong_base", reason="another model")

        monkeypatch.setattr(laid.combiner._intake, "submit", refuse)
        await laid.start("c0", settings=set_up.settings())
        await until(lambda: "was refused: wrong_base: another model" in caplog.text)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for age in range(5):
        path = tmp_path / str(age)
        path.mkdir() if age % 2 else path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    keep_newest(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_only_the_ended_rounds_results_are_deleted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in ("one", "other"):
        out = workspace.attempt(name) / "out"
        out.touch()
        workspace.save_result(name, TrainResult(name, f"{out.parent.name}/out", "d", 1, {}, 0.0))
    workspace.attempt("unfinished")
    workspace.end_round("one")
    assert workspace.result("one") is None
    assert workspace.result("other") is not None
    assert len(list((tmp_path / "tasks").iterdir())) == 3  # `result` makes the folder of a task


def test_a_script_of_a_former_run_writes_nowhere(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    before = workspace.attempt("task")
    after = workspace.attempt("task")
    assert before != after
    assert not before.exists()
    assert after.exists()
