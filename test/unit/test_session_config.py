from __future__ import annotations

from dataclasses import fields
from typing import Any

import click
import pytest

from fedn.cli.session import start
from fedn.errors import ConfigInvalid
from fedn.reducer.session_config import SessionConfig


def test_form_strings_and_json_values_give_the_same_config() -> None:
    form = {"rounds": "3", "round_timeout": "9.5", "validate": "on", "seed": "7", "settings": '{"epochs": 2}'}
    values = {"rounds": 3, "round_timeout": 9.5, "validate": True, "seed": 7, "settings": {"epochs": 2}}
    assert SessionConfig.parse(form) == SessionConfig.parse(values)


def test_empty_fields_of_a_form_mean_the_default() -> None:
    config = SessionConfig.parse({"rounds": "", "clients_requested": "", "seed": "1"})
    assert (config.rounds, config.clients_requested) == (10, None)


def test_a_config_survives_its_document() -> None:
    config = SessionConfig.parse({"rounds": 2, "settings": {"a": [1, 2]}})
    assert SessionConfig.parse(config.as_json()) == config


def test_seed_is_random_unless_given() -> None:
    assert len({SessionConfig.parse({}).seed for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rounds_timeout": 3}, "did you mean 'round_timeout'"),
        ({"nonsense": 3}, "known are rounds"),
        ({"rounds": 0}, "rounds: 0 is not between 1"),
        ({"rounds": "many"}, "rounds: expected a whole number"),
        ({"rounds": 1.5}, "expected a whole number"),
        ({"rounds": True}, "expected a whole number"),
        ({"round_timeout": "nan"}, "round_timeout"),
        ({"round_timeout": True}, "expected a number"),
        ({"round_timeout": "soon"}, "expected a number"),
        ({"validate": "perhaps"}, "expected true or false"),
        ({"settings": "[1]"}, "expected a JSON object"),
        ({"settings": "{"}, "settings"),
        ({"seed": -1}, "seed"),
        ({"clients_required": 5, "clients_requested": 3}, "fewer than clients_required"),
        ({"wire_dtype": "float8"}, "wire_dtype: expected one of float32, bfloat16, float16, found 'float8'"),
        ({"compression": "gzip"}, "compression: expected one of none, zstd, found 'gzip'"),
    ],
)
def test_wrong_values_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        SessionConfig.parse(given)
    assert said in caught.value.reason


def test_encodings_are_off_unless_asked_for() -> None:
    assert SessionConfig.parse({}).encodings == ()
    assert SessionConfig.parse({"wire_dtype": "float32", "compression": "none"}).encodings == ()
    assert SessionConfig.parse({"wire_dtype": "float16", "compression": "zstd"}).encodings == ("float16", "zstd")


def test_the_command_line_offers_what_a_session_takes() -> None:
    choices = {f.name: set(f.metadata["choices"]) for f in fields(SessionConfig) if "choices" in f.metadata}
    offered = {p.name: set(p.type.choices) for p in start.params if isinstance(p.type, click.Choice)}
    assert offered == choices


def test_settings_of_single_clients_are_objects_under_names() -> None:
    config = SessionConfig.parse({"client_settings": '{"client-3": {"epochs": 2}}', "seed": 1})
    assert config.client_settings == {"client-3": {"epochs": 2}}
    assert SessionConfig.parse(config.as_json()) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"client_settings": '{"client-3": 2}'}, "client_settings: client-3: expected a JSON object, found '2'"),
        ({"client_settings": {"no name": {}}}, "client_settings: expected a name of letters"),
        ({"client_settings": "[]"}, "client_settings: expected a JSON object"),
        ({"settings": {"k": "v" * 2**18}}, "settings: more than 262144 bytes of JSON"),
        ({"client_settings": {"c": {"k": "v" * 2**19}}}, "client_settings: more than 524288 bytes of JSON"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        SessionConfig.parse(given)
    assert said in caught.value.reason
