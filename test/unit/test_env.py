"""`fedn env init` makes the .env of a deployment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fedn.cli.env_check import values_of
from fedn.cli.env_file import SECRETS, VARIABLES, rendered
from fedn.security.placeholders import check_token, is_placeholder
from test.system.network import command, complained

ROOT = Path(__file__).parents[2]


def values(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_secrets_are_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = command("env", "init", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    first, second = values(tmp_path / "a"), values(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for name in SECRETS:
        assert len(first[name]) == 43
        assert not is_placeholder(first[name])
        assert second[name] not in done.stdout + done.stderr
    assert len({first[name] for name in SECRETS} | {second[name] for name in SECRETS}) == 2 * len(SECRETS)
    check_token(first["FEDN_ALLIANCE_AUTH_TOKEN"], "FEDN_ALLIANCE_AUTH_TOKEN")
    assert {k: v for k, v in first.items() if k not in SECRETS} == {k: v for k, v in second.items() if k not in SECRETS}


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("FEDN_MONGO_PASSWORD=in-use\n")
    said = complained(command("env", "init", cwd=tmp_path), code="conflict", exit_code=4)
    assert "is there already" in said
    assert file.read_text() == "FEDN_MONGO_PASSWORD=in-use\n"
    assert command("env", "init", "--force", cwd=tmp_path).returncode == 0
    assert "in-use" not in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    said = complained(command("env", "init", "-o", tmp_path / "no" / ".env"), code="folder_unusable", exit_code=2)
    assert "cannot be written" in said


def test_stdout_is_given_the_text_alone(tmp_path: Path) -> None:
    done = command("env", "init", "-o", "-", cwd=tmp_path)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".env").write_text(done.stdout)
    assert list(values(tmp_path / ".env")) == [variable.name for variable in VARIABLES]
    assert all(line.startswith("#") or "=" in line or not line for line in done.stdout.splitlines())
    assert "secrets made" in done.stderr


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, force: list[str]) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nothing")
    for place in (pipe, link):
        said = complained(command("env", "init", *force, "-o", place), code="folder_unusable", exit_code=2)
        assert "no regular file" in said
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_the_example_has_every_variable_and_no_secret() -> None:
    example = ROOT / ".env.example"
    assert example.read_text() == rendered({}), "run `make docs`"
    given = values(example)
    assert list(given) == [variable.name for variable in VARIABLES]
    assert {name for name, value in given.items() if not value} >= set(SECRETS)
    assert not [name for name in SECRETS if given[name]]


def test_a_file_of_init_is_well(tmp_path: Path) -> None:
    assert command("env", "init", cwd=tmp_path).returncode == 0
    done = command("env", "check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_bad_secret_is_named_and_none_is_said(tmp_path: Path) -> None:
    good = {name: os.urandom(16).hex() for name in SECRETS}
    bad = {
        "FEDN_ME_PASSWORD": "change-me",
        "FEDN_MINIO_SECRET_KEY": '"<your secret>"',
        "FEDN_MONGO_PASSWORD": "s3cret@home:27017/#",
        "FEDN_MONGO_USER": "al/ice",
        "FEDN_ALLIANCE_AUTH_TOKEN": "",
    }
    file = tmp_path / "env"
    file.write_text(rendered(good | bad))
    said = complained(command("env", "check", file), code="config_invalid", exit_code=2)
    assert {name for name in good | bad if name in said} == set(bad)
    assert "FEDN_ALLIANCE_AUTH_TOKEN is empty" in said
    assert "FEDN_ME_PASSWORD is a placeholder" in said
    assert "FEDN_MINIO_SECRET_KEY is a placeholder" in said
    assert "FEDN_MONGO_PASSWORD has other characters" in said
    assert "s3cret" not in said
    example = complained(command("env", "check", ROOT / ".env.example"), code="config_invalid", exit_code=2)
    assert all(f"{name} is empty" in example for name in SECRETS)


def test_a_file_to_check_is_read_as_docker_compose_reads_it() -> None:
    text = "# A=0\nA=1\n export A = '2' \nB=\"x=y\"\nC=\nnothing\n"
    assert values_of(text) == {"A": "2", "B": "x=y", "C": ""}


def test_every_variable_is_explained() -> None:
    assert [variable.name for variable in VARIABLES if len(variable.what) < 10] == []
