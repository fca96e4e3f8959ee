"""The compose files by their structure: what a deployment must not forget. `.ci/compose` brings them up for real."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedn import __version__
from fedn.cli.env_file import SECRETS, VARIABLES

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yaml", "reducer.yaml", "combiner.yaml", "client.yaml")
OURS = {"reducer": "reducer.yaml", "combiner": "combiner.yaml", "client": "client.yaml", "fedn": "client.yaml"}
SERVICES = [(file, name) for file in FILES for name in yaml.safe_load((ROOT / file).read_text())["services"]]
SEEDS_NAMES = {
    "ALLIANCE_UID",
    "FEDN_REDUCER_HOST",
    "FEDN_REDUCER_PORT",
    "FEDN_MONGO_USER",
    "FEDN_MONGO_PASSWORD",
    "FEDN_MONGO_HOST",
    "FEDN_MONGO_PORT",
    "FEDN_ME_USERNAME",
    "FEDN_ME_PASSWORD",
    "FEDN_MINIO_HOST",
    "FEDN_MINIO_PORT",
    "FEDN_MINIO_ACCESS_KEY",
    "FEDN_MINIO_SECRET_KEY",
    "FEDN_ALLIANCE_AUTH_TOKEN",
    "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN",
    "EXAMPLE",
    "CLIENT_NAME_BASE",
}
USED = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def service(file: str, name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / file).read_text())["services"][name])


def uses() -> Iterator[tuple[str, str, str, str]]:
    """File, variable, operator and default of each variable that a compose file uses."""
    for file in FILES:
        for name, operator, default in USED.findall((ROOT / file).read_text()):
            yield file, name, operator, default


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_images_are_pinned(file: str, name: str) -> None:
    tag = re.sub(r"\$\{[^}]*\}", "x", service(file, name)["image"]).rpartition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+|RELEASE\.\d{4}-", tag), tag
    if name in OURS:
        assert tag == __version__


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_services_have_limits_and_give_up_privileges(file: str, name: str) -> None:
    given = service(file, name)
    assert {"mem_limit", "cpus"} <= given.keys()
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert "max-size" in given["logging"]["options"]
    assert not {"privileged", "network_mode", "pid", "user"} & given.keys()
    if name != "fedn":  # a command, which ends
        assert given["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "start_period", "retries"} <= given["healthcheck"].keys()


@pytest.mark.parametrize(("name", "file"), OURS.items())
def test_our_services_write_to_nothing_but_volumes(name: str, file: str) -> None:
    given = service(file, name)
    assert given["read_only"] is True
    assert given["init"] is True
    assert given["cap_drop"] == ["ALL"]
    assert [entry.split(":")[0] for entry in given["tmpfs"]] == ["/tmp"]
    assert not [volume for volume in given["volumes"] if "docker.sock" in volume]


@pytest.mark.parametrize("name", ["reducer", "combiner", "client"])
def test_health_is_readiness_in_the_image_and_in_the_file(name: str) -> None:
    assert service(OURS[name], name)["healthcheck"]["test"] == ["CMD", "fedn", "health", name]
    assert f'CMD ["fedn", "health", "{name}"]' in (ROOT / "Dockerfile").read_text()


def test_mongo_is_asked_at_the_address_that_its_first_start_does_not_have() -> None:
    mongo = service("docker-compose.yaml", "mongo")
    asked = mongo["healthcheck"]["test"]
    assert asked[asked.index("--host") + 1] == mongo["hostname"]


def test_no_secret_has_a_default_and_each_is_asked_for() -> None:
    defaults = [(file, name) for file, name, operator, _ in uses() if name in SECRETS and operator == "-"]
    assert defaults == []
    asked = {name for _, name, operator, _ in uses() if operator == "?"}
    assert asked >= set(SECRETS)


def test_a_data_owner_needs_the_network_token_and_no_other_secret() -> None:
    assert {name for file, name, operator, _ in uses() if file == "client.yaml" and operator == "?"} == {
        "FEDN_ALLIANCE_AUTH_TOKEN"
    }


def test_defaults_are_those_of_the_example() -> None:
    known = {variable.name: variable.default for variable in VARIABLES}
    used = {(name, default) for _, name, operator, default in uses() if operator == "-"}
    assert {(name, default) for name, default in used if known.get(name) != default} == set()
    compose_itself = {"COMPOSE_IGNORE_ORPHANS"}
    assert {name for _, name, _, _ in uses()} == known.keys() - compose_itself


def test_the_variables_keep_their_names() -> None:
    assert {variable.name for variable in VARIABLES} >= SEEDS_NAMES


def test_each_role_is_given_what_it_needs_and_no_other_secret() -> None:
    def secrets_of(name: str) -> set[str]:
        return {key for key in service(OURS[name], name)["environment"] if key in SECRETS}

    tokens = {"FEDN_ALLIANCE_AUTH_TOKEN", "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"}
    assert secrets_of("reducer") == tokens | {"FEDN_MONGO_PASSWORD", "FEDN_MINIO_SECRET_KEY"}
    assert secrets_of("combiner") == tokens
    assert secrets_of("client") == {"FEDN_ALLIANCE_AUTH_TOKEN"}
    assert secrets_of("fedn") == {"FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"}


def test_all_files_name_one_network_and_one_makes_it() -> None:
    networks = [yaml.safe_load((ROOT / file).read_text())["networks"]["fedn"] for file in FILES]
    assert len({network["name"] for network in networks}) == 1
    assert [network.get("external", False) for network in networks] == [False, True, True, True]


def test_only_pages_are_published_and_only_to_this_machine() -> None:
    published = {name: service(file, name).get("ports", []) for file, name in SERVICES}
    assert {name for name, ports in published.items() if ports} == {"minio", "mongo-express", "reducer"}
    for ports in published.values():
        assert [port for port in ports if not port.startswith(("127.0.0.1:", "${PUBLISH_ADDRESS:-127.0.0.1}:"))] == []


def test_two_combiners_unless_told_otherwise() -> None:
    assert service("combiner.yaml", "combiner")["scale"] == 2


def test_the_test_of_the_deployment_replaces_the_databases_and_nothing_else() -> None:
    stores = yaml.safe_load((ROOT / "test/compose/stores.yaml").read_text())
    assert list(stores["services"]) == ["mongo", "minio"]
    reducer = yaml.safe_load((ROOT / "test/compose/reducer.yaml").read_text())
    assert reducer["services"] == {"reducer": {"environment": {"FEDN_MONGO_USER": "", "FEDN_MONGO_PASSWORD": ""}}}


def test_images_run_as_nobody_and_stop_by_sigterm() -> None:
    text = (ROOT / "Dockerfile").read_text()
    runtime = text.split("AS runtime", 1)[1].split("FROM", 1)[0]
    assert re.search(r"^USER 10001:10001$", runtime, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in runtime
    for target in ("reducer", "combiner", "client"):
        assert re.search(rf"^FROM runtime AS {target}$", text, re.MULTILINE)
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+$", text, re.MULTILINE)
    assert "latest" not in json.dumps(text)


def test_nothing_private_goes_into_a_build() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!pyproject.toml", "!constraints.txt", "!README.md", "!LICENSE", "!hatch_build.py", "!fedn",
        "!test", "!test/*/requirements.txt",
    }  # fmt: skip
    assert rules.index("!test") < rules.index("test/*/*") < rules.index("!test/*/requirements.txt")


@pytest.mark.parametrize("project", [path.parent.name for path in sorted(ROOT.glob("test/*/fedn.yaml"))])
def test_each_project_says_what_its_clients_need(project: str) -> None:
    assert (ROOT / "test" / project / "requirements.txt").read_text().strip()
