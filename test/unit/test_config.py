from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from fedn.cli.run import reducer
from fedn.cli.seed import write_seed
from fedn.config import ClientSettings, CombinerSettings, ReducerSettings, load, secrets, variable, without_secrets
from fedn.errors import ConfigInvalid
from fedn.package.project import Project, load_project
from fedn.storage.urls import MongoPlace, S3Place, mongo_place, s3_place
from fedn.yaml_file import parse_yaml, read_yaml


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_defaults_stand_when_nothing_is_given() -> None:
    settings = load(ReducerSettings, environ={})
    assert settings == ReducerSettings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8090, 2)
    assert (settings.max_model_bytes, settings.max_package_bytes) == (8 * 2**30, 64 * 2**20)


def test_file_environment_and_command_line_win_in_this_order(tmp_path: Path) -> None:
    file = written(tmp_path, "port: 1001\nworkers: 3\nthreads: 4\nlease_s: 2\n")
    environ = {"FEDN_REDUCER_WORKERS": "5", "FEDN_REDUCER_THREADS": "6"}
    settings = load(ReducerSettings, file=file, environ=environ, overrides={"threads": 7, "host": None})
    assert (settings.port, settings.workers, settings.threads, settings.lease_s) == (1001, 5, 7, 2.0)
    assert isinstance(settings.lease_s, float)
    assert settings.host == "127.0.0.1"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load(ReducerSettings, environ={}).port = 1  # type: ignore[misc]


def test_every_field_has_help_and_a_default_that_its_own_rules_accept() -> None:
    for cls in (ReducerSettings, CombinerSettings, ClientSettings):
        given = {f.name: f.default for f in fields(cls)}
        assert load(cls, environ={}, overrides=given) == cls()
        assert all(f.metadata["help"].endswith(".") for f in fields(cls))


def test_unknown_key_names_file_line_and_nearest(tmp_path: Path) -> None:
    file = written(tmp_path, "# a comment\nport: 1001\nworker: 3\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(ReducerSettings, file=file, environ={})
    assert caught.value.reason == f"{file}:3: unknown key 'worker'; did you mean 'workers'?"


def test_unknown_variable_names_the_nearest_and_other_roles_are_left_alone() -> None:
    load(ReducerSettings, environ={"FEDN_CLIENT_NAM": "x", "FEDN_DATA_DIR": "x", "PATH": "/"})
    with pytest.raises(ConfigInvalid) as caught:
        load(ClientSettings, environ={"FEDN_CLIENT_NAM": "x"})
    assert caught.value.reason == ("unknown environment variable 'FEDN_CLIENT_NAM'; did you mean 'FEDN_CLIENT_NAME'?")


def test_unknown_override_names_the_nearest() -> None:
    with pytest.raises(ConfigInvalid, match="unknown setting 'prot'; did you mean 'port'"):
        load(ReducerSettings, environ={}, overrides={"prot": 1})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("port: http", "port: expected a whole number from 0 to 65535, found 'http'"),
        ("port: -1", "port: expected a whole number from 0 to 65535, found -1"),
        ("port: 70000", "port: expected a whole number from 0 to 65535, found 70000"),
        ("port: true", "port: expected a whole number from 0 to 65535, found True"),
        ("port: 80.5", "port: expected a whole number from 0 to 65535, found 80.5"),
        ("port: [1]", "port: expected a whole number from 0 to 65535, found a list"),
        ("lease_s: .nan", "lease_s: expected a number from 0.1 to 3600, found nan"),
        ("lease_s: .inf", "lease_s: expected a number from 0.1 to 3600, found inf"),
        (
            f"max_model_bytes: {'9' * 400}.5",
            "max_model_bytes: expected a whole number of at least 1024, found inf",
        ),
        (f"lease_s: {'9' * 400}", f"lease_s: expected a number from 0.1 to 3600, found {'9' * 57}..."),
        ("host: 5", "host: expected text, found 5"),
        ("dir: {a: 1}", "dir: expected a path, found a mapping"),
        ("log_level: loud", "log_level: expected one of debug, info, warning, error, found 'loud'"),
    ],
)
def test_wrong_value_names_line_what_was_expected_and_what_was_found(tmp_path: Path, line: str, reason: str) -> None:
    file = written(tmp_path, f"\n{line}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(ReducerSettings, file=file, environ={})
    assert caught.value.reason == f"{file}:2: {reason}"


@pytest.mark.parametrize("value", ["two", "1.5", "0", "nan", "-3"])
def test_wrong_variable_is_named(value: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(ReducerSettings, environ={"FEDN_REDUCER_WORKERS": value})
    assert caught.value.reason == (f"FEDN_REDUCER_WORKERS: expected a whole number from 1 to 64, found {value!r}")


def test_wrong_option_is_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"--lease-s: expected a number from 0.1 to 3600, found 0"):
        load(ReducerSettings, environ={}, overrides={"lease_s": 0})


def test_addresses_and_names_are_checked() -> None:
    with pytest.raises(ConfigInvalid, match="an address such as http"):
        load(ClientSettings, environ={"FEDN_CLIENT_REDUCER": "localhost:8090"})
    with pytest.raises(ConfigInvalid, match="FEDN_CLIENT_NAME: expected a name of letters"):
        load(ClientSettings, environ={"FEDN_CLIENT_NAME": "../up"})
    assert load(ClientSettings, environ={"FEDN_CLIENT_NAME": "site-1.b"}).name == "site-1.b"


def test_shared_data_dir_yields_to_the_clients_own_variable() -> None:
    shared = load(ClientSettings, environ={"FEDN_DATA_DIR": "/shared"})
    own = load(ClientSettings, environ={"FEDN_DATA_DIR": "/shared", "FEDN_CLIENT_DATA_DIR": "/own"})
    assert (shared.data_dir, own.data_dir) == (Path("/shared"), Path("/own"))
    assert load(ClientSettings, environ={"FEDN_DATA_DIR": ""}).data_dir is None


def test_the_variable_that_scripts_get_does_not_stop_a_client() -> None:
    assert load(ClientSettings, environ={"FEDN_CLIENT_SETTINGS": "/x.json"}) == ClientSettings()


def test_home_is_expanded() -> None:
    assert load(ReducerSettings, environ={"FEDN_REDUCER_DIR": "~/fedn"}).dir == Path.home() / "fedn"


def test_variable_names() -> None:
    assert variable(CombinerSettings, "min_rate_bytes_s") == "FEDN_COMBINER_MIN_RATE_BYTES_S"


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        load(ReducerSettings, file=tmp_path / "none.yaml", environ={})
    assert load(ReducerSettings, file=written(tmp_path, "# empty\n"), environ={}) == ReducerSettings()
    assert load(ReducerSettings, file=written(tmp_path, "port:\n"), environ={}) == ReducerSettings()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: 'a' stands here twice; first in line 1"),
        ("a: &x [1]\nb: *x\n", "f:2: aliases are not supported"),
        ("a: {" + "b: [" * 20, "f:1: "),
        ("a:\n  - !!python/object/apply:os.system ['true']\n", "f:2: tags are not supported"),
        ("a: 'open\n", "f:2: found unexpected end of stream"),
        ("1: a\n", "f:1: expected a key that is text, found 1"),
        ("a: 2001-99-99\n", "f:1: cannot read '2001-99-99'"),
        ("a: 1\n---\nb: 2\n", "f:2: but found another document"),
        ("a: \x07\n", "f: not a YAML text in UTF-8"),
    ],
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse_yaml(text.encode(), source="f")
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize("content", [b"[" * 50_000, b"- " * 50_000, b"\xff\xfe\xfd", b"a" * (2**20 + 1)])
def test_hostile_yaml_is_refused_quickly(content: bytes) -> None:
    with pytest.raises(ConfigInvalid):
        parse_yaml(content, source="f")


def test_nodes_know_their_lines(tmp_path: Path) -> None:
    root = read_yaml(written(tmp_path, "name: x\nsteps:\n  - one\n  - two: 2\n"))
    steps = root.mapping("settings")["steps"]
    assert (steps.line, root.mapping("settings")["name"].text("name")) == (2, "x")
    assert isinstance(steps.value, list)
    assert [item.line for item in steps.value] == [3, 4]
    with pytest.raises(ConfigInvalid, match=r":2: steps: expected a mapping, found a list"):
        steps.mapping("steps")


def test_a_name_and_a_base_of_names_exclude_each_other() -> None:
    environ = {"FEDN_CLIENT_NAME_BASE": "site-"}
    assert load(ClientSettings, environ=environ).name_base == "site-"
    with pytest.raises(ConfigInvalid, match="exclude each other"):
        load(ClientSettings, environ=environ, overrides={"name": "c1"})
    with pytest.raises(ConfigInvalid, match="name-base"):
        load(ClientSettings, environ={}, overrides={"name_base": "a b"})


# ── stores and secrets ──

SECRETS = {"FEDN_MONGO_USER": "alice", "FEDN_MONGO_PASSWORD": "hunter2", "FEDN_MINIO_SECRET_KEY": "hunter3"}


def test_secrets_come_from_their_variables_and_are_not_shown() -> None:
    settings = load(ReducerSettings, environ=SECRETS)
    assert (settings.mongo_user, settings.mongo_password, settings.minio_secret_key) == ("alice", "hunter2", "hunter3")
    for value in SECRETS.values():
        assert value not in repr(settings)
    assert set(SECRETS) < set(secrets(ReducerSettings))
    assert "FEDN_REDUCER_MONGO_PASSWORD" in set(secrets(ReducerSettings))


def test_a_secret_of_the_wrong_kind_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("mongo_password: 12345678\n")
    with pytest.raises(ConfigInvalid, match="mongo_password: expected text, found another value, which is secret"):
        load(ReducerSettings, file=file, environ={})


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://me:hunter2@h:1/d",
        "mongodb://me:" + "hunter2" * 20 + "@h:1/d",
        "mongodb://me:hunter2@h",
        "http://h:1/d",
    ],
)
def test_an_address_of_a_store_has_no_credentials_and_none_are_shown(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="expected mongodb://HOST:PORT/DATABASE") as caught:
        load(ReducerSettings, environ={"FEDN_REDUCER_STATE": url})
    assert "hunter2" not in caught.value.reason


@pytest.mark.parametrize("url", ["s3://h:1", "s3://h/bucket", "s3://h:1/UPPER", "s3://h:1/bucket?tls=perhaps"])
def test_an_address_of_blobs_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="expected s3://HOST:PORT/BUCKET"):
        load(ReducerSettings, environ={}, overrides={"blobs": url})


def test_addresses_of_stores_are_taken_apart() -> None:
    assert mongo_place("mongodb://[::1]:27017/fedn") == MongoPlace("::1", 27017, "fedn")
    assert s3_place("s3://minio:9000/models?tls=false") == S3Place("minio", 9000, "models", tls=False)
    assert s3_place("s3://minio:9000/models").tls
    for port in (0, 65536):
        with pytest.raises(ConfigInvalid, match="is not HOST:PORT"):
            mongo_place(f"mongodb://h:{port}/d")


ALL_SECRETS = {
    *(name for cls in (ReducerSettings, CombinerSettings, ClientSettings) for name in secrets(cls)),
    "FEDN_ME_USERNAME",
    "FEDN_ME_PASSWORD",
    "FEDN_CLIENT_TOKEN_FILE",
}


def test_scripts_are_given_no_secret_and_a_role_only_its_own() -> None:
    environ = dict.fromkeys(ALL_SECRETS, "hunter2") | {"PATH": "/bin", "FEDN_REDUCER_PORT": "1"}
    assert {"FEDN_MONGO_PASSWORD", "FEDN_REDUCER_MINIO_SECRET_KEY", "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"} < ALL_SECRETS
    assert without_secrets(environ) == {"PATH": "/bin", "FEDN_REDUCER_PORT": "1"}
    for cls in (ReducerSettings, CombinerSettings, ClientSettings):
        assert set(without_secrets(environ, of=cls)) == {"PATH", "FEDN_REDUCER_PORT", *secrets(cls)}
    assert "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN" not in without_secrets(environ, of=ClientSettings)


def test_init_model_is_shown_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL_SECRETS:
        monkeypatch.setenv(name, "hunter2")
    (tmp_path / "init.py").write_text("import os, sys; open(sys.argv[1], 'w').write(repr(dict(os.environ)))")
    project = load_project_of(tmp_path)
    write_seed(project, tmp_path / "seed", seed=7)
    shown = (tmp_path / "seed").read_text()
    assert "hunter2" not in shown
    assert "'FEDN_SESSION_SEED': '7'" in shown


def load_project_of(folder: Path) -> Project:
    (folder / "client").mkdir()
    (folder / "fedn.yaml").write_text(
        "name: a\npackage: client\nentry_points: {train: x, validate: y}\ninit_model: python init.py\n"
    )
    return load_project(folder)


def test_no_secret_is_an_option_of_a_command() -> None:
    shown = [name for parameter in reducer.params for name in parameter.opts]
    assert "--state" in shown
    assert not any(word in name for name in shown for word in ("password", "secret", "access", "user"))


@pytest.mark.parametrize(("given", "meant"), [("true", True), ("No", False), ("0", False), ("1", True)])
def test_a_switch_is_read_from_the_environment(given: str, meant: bool) -> None:
    assert load(ClientSettings, environ={"FEDN_CLIENT_ENV": given}).env is meant


def test_a_switch_that_is_neither_on_nor_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="FEDN_CLIENT_ENV: expected true or false, found 'maybe'"):
        load(ClientSettings, environ={"FEDN_CLIENT_ENV": "maybe"})
    with pytest.raises(ConfigInvalid, match="env: expected true or false, found 'false'"):
        load(ClientSettings, environ={}, file=written(tmp_path, 'env: "false"\n'))
    assert load(ClientSettings, environ={}, file=written(tmp_path, "env: false\n")).env is False
