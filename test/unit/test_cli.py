"""The command line without any network: help, reference pages, exit codes, sentences."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from docs.generate import PAGES, commands
from fedn import errors
from fedn.cli import failures
from fedn.cli.live import busy, summary
from fedn.cli.main import cli, main
from fedn.errors import EntryPointFailed, FednError

ROOT = Path(__file__).parents[2]
COMMANDS = dict(commands(cli, "fedn"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_with_an_example(path: str) -> None:
    help_text = COMMANDS[path]
    assert "Example" in help_text
    example = help_text.split("Example", 1)[1]
    assert f"\n    {path.split()[0]} " in example or "\n    fedn " in example


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_reference_pages_are_up_to_date(name: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")} == COMMANDS.keys()


def test_examples_name_options_that_exist() -> None:
    for example in examples():
        words = example.split()[1:]
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words.pop(0))
            assert found is not None, example
            command = found
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, example


def examples() -> Iterator[str]:
    for text in COMMANDS.values():
        for line in text.split("Example", 1)[1].splitlines()[1:]:
            if not line.strip():
                break
            yield line.strip()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fedn", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


def raising(error: BaseException) -> Any:
    def command(**_: Any) -> None:
        raise error

    return command


@pytest.mark.parametrize("kind", list(errors.tree()), ids=lambda kind: kind.code)
def test_an_error_is_one_sentence_and_the_exit_code_of_its_kind(
    kind: type[FednError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", raising(kind("it went wrong")))
    assert run(monkeypatch) == kind.exit_code
    assert capsys.readouterr().err == f"error: it went wrong [{kind.code}]\n"


def test_kinds_of_error_have_exit_codes_of_their_own() -> None:
    kinds = ("BadInput", "NotFound", "Conflict", "Unavailable", "RoundFailed", "TaskFailed", "TrailBroken", "FednError")
    assert [getattr(errors, kind).exit_code for kind in kinds] == [2, 3, 4, 5, 6, 7, 8, 1]
    assert errors.Interrupted.exit_code == 130


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_an_interrupt_is_said_as_well(
    interrupt: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", raising(interrupt))
    assert run(monkeypatch) == 130
    assert capsys.readouterr().err.endswith("[interrupted]\n")


def test_the_end_of_a_script_s_stderr_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tail = "\n".join(f"line {k}" for k in range(100))
    monkeypatch.setattr(cli, "main", raising(EntryPointFailed("exit code 3", stderr_tail=tail)))
    assert run(monkeypatch) == 7
    first, *shown = capsys.readouterr().err.splitlines()
    assert first == "error: exit code 3 [entry_point_failed]"
    assert shown == [f"  │ line {k}" for k in range(85, 100)]


def test_a_missing_extra_is_named_and_any_other_missing_module_is_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", raising(ModuleNotFoundError("no flask", name="flask.app")))
    assert run(monkeypatch) == 2
    assert "pip install 'fedn[" in capsys.readouterr().err
    monkeypatch.setattr(cli, "main", raising(ModuleNotFoundError("no such thing", name="fedn.nothing")))
    with pytest.raises(ModuleNotFoundError):
        main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["session", "start", "--rouns", "3"], "No such option '--rouns'. Did you mean '--rounds'"),
        (["session", "start", "--rounds", "many"], "'many' is not a valid integer"),
        (["sandbox", "--clients", "0"], "--clients"),
        (["model", "pull"], "MODEL_ID"),
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    words = [sys.executable, "-m", "fedn", "sandbox", "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 1


def test_help_loads_neither_roles_nor_frameworks() -> None:
    heavy = ("flask", "gunicorn", "grpc", "numpy", "torch", "sklearn", "fedn.reducer", "fedn.combiner", "fedn.client")
    probe = f"import sys; from fedn.cli.main import main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def failure(name: str, stderr_tail: str = "") -> dict[str, Any]:
    return {"name": name, "code": "entry_point_failed", "reason": "exit code 3", "stderr_tail": stderr_tail}


def test_a_session_s_failure_is_told_with_the_client_s_words() -> None:
    rounds = [
        {"failures": [failure("old")]},
        {"failures": [failure("c1", "Traceback\nKeyError: 'x'\n")]},
        {"failures": []},
    ]
    said = failures.of_session({"rounds": rounds})
    assert said == "c1: exit code 3 [entry_point_failed]\n  Traceback\n  KeyError: 'x'"
    assert failures.of_session({"rounds": [{"failures": []}]}) == ""


def test_progress_says_who_is_busy_and_what_a_round_came_to() -> None:
    names = [f"c{k}" for k in range(8)]
    live = {"kind": "train", "busy": names, "phases": ["collect"]}
    assert busy(live) == "training: c0, c1, c2, c3, c4, c5 and 2 more"
    assert busy({"kind": "validate", "busy": ["c0"], "phases": ["collect"]}) == "validating: c0"
    assert busy({"kind": "train", "busy": [], "phases": ["fold"]}) == "fold"
    line = {"seconds": 1.5, "updates": 4, "loss": 0.25, "accuracy": None, "failures": [failure("c1")]}
    assert "4 clients" in summary(line)
    assert "loss 0.2500" in summary(line)
    assert "1 failed: entry_point_failed" in summary(line)


def test_a_package_is_created_and_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = set()
    for name in ("one.tar", "other.tar"):
        file = tmp_path / name
        assert run(monkeypatch, "package", "create", str(ROOT / "test" / "digits"), "-o", str(file), "--json") == 0
        digests.add(json.loads(capsys.readouterr().out)["digest"])
    assert digests == {hashlib.sha256(file.read_bytes()).hexdigest()}
    assert run(monkeypatch, "package", "inspect", str(file), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["digest"] in digests
    assert found["entry_points"]["train"] == ["python", "train.py"]
    assert {"fedn.yaml", "train.py"} <= {entry["name"] for entry in found["files"]}
    assert run(monkeypatch, "package", "inspect", str(file)) == 0
    assert "train: python train.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["create", "{0}", "-o", "{0}/p.tar"], 2, "there is no fedn.yaml in it [config_invalid]"),
        (["create", "{1}", "-o", "{0}/file/p.tar"], 2, "[folder_unusable]"),
        (["inspect", "{0}/file"], 2, "[package_invalid]"),
        (["inspect", "{0}/nothing"], 2, "does not exist"),
    ],
)
def test_a_package_that_cannot_be_is_one_sentence(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("no archive")
    words = [word.format(tmp_path, ROOT / "test" / "digits") for word in arguments]
    assert run(monkeypatch, "package", *words) == code
    assert capsys.readouterr().err.rstrip().endswith((said, f"{said}."))
    assert not list(tmp_path.glob("*.tar"))
