from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedn.client.outputs import Metadata, read_metadata, read_metrics
from fedn.errors import BadNumExamples, OutputInvalid, OutputMissing


def written(folder: Path, text: str) -> Path:
    path = folder / "out-metadata"
    path.write_text(text)
    return path


def test_numbers_beside_and_inside_metrics_are_metrics(tmp_path: Path) -> None:
    text = json.dumps(
        {"num_examples": 300, "metrics": {"loss": 1, "x": 2.5}, "x": 9, "lr": 0.1, "note": "hi", "ok": True}
    )
    assert read_metadata(written(tmp_path, text)) == Metadata(300, {"x": 2.5, "lr": 0.1, "loss": 1.0})
    metrics = read_metadata(tmp_path / "out-metadata").metrics
    assert all(type(value) is float for value in metrics.values())


def test_validation_without_num_examples_counts_as_one(tmp_path: Path) -> None:
    assert read_metrics(written(tmp_path, '{"loss": 0.5}')) == Metadata(1, {"loss": 0.5})
    assert read_metrics(written(tmp_path, '{"num_examples": 7, "metrics": {"loss": 1}}')) == Metadata(7, {"loss": 1.0})


@pytest.mark.parametrize("value", ["0", "-1", "1.0", "true", '"5"', "null", "1e3", "[1]", str(2**29), "9" * 30])
def test_num_examples_must_be_a_whole_number_in_range(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f'{{"num_examples": {value}}}')
    for read in (read_metadata, read_metrics):
        with pytest.raises(BadNumExamples, match="in out-metadata"):
            read(path)


def test_training_must_say_num_examples(tmp_path: Path) -> None:
    with pytest.raises(BadNumExamples, match="out-metadata has no num_examples"):
        read_metadata(written(tmp_path, '{"loss": 1}'))


def test_nothing_written_is_missing(tmp_path: Path) -> None:
    for read in (read_metadata, read_metrics):
        with pytest.raises(OutputMissing, match="wrote no out-metadata"):
            read(tmp_path / "out-metadata")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"num_examples": ' + "1" * 5000 + "}", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"num_examples": 1, "metrics": [1]}', "metrics in out-metadata is [1], not a JSON object"),
        ('{"num_examples": 1, "metrics": {"a": "x"}}', "metric 'a' in out-metadata is 'x', not a number"),
        ('{"num_examples": 1, "metrics": {"a": true}}', "metric 'a' in out-metadata is True, not a number"),
        ('{"num_examples": 1, "metrics": {"a": NaN}}', "metric 'a' in out-metadata is nan"),
        ('{"num_examples": 1, "a": -Infinity}', "metric 'a' in out-metadata is -inf"),
        ('{"num_examples": 1, "a": 1e999}', "metric 'a' in out-metadata is inf"),
        ('{"num_examples": 1, "a": 1' + "0" * 400 + "}", "metric 'a' in out-metadata is inf"),
        ('{"num_examples": 1, "\\ud800": 1}', "is no name for a metric"),
        ('{"num_examples": 1, "": 1}', "is no name for a metric"),
        ('{"num_examples": 1, "x": "' + "x" * 2**20 + '"}', "is larger than 1048576 bytes"),
    ],
)
def test_what_is_not_asked_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(OutputInvalid) as caught:
        read_metadata(written(tmp_path, text))
    assert reason in caught.value.reason


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"num_examples": 1, "\xff": 1}')
    with pytest.raises(OutputInvalid, match="is not JSON"):
        read_metadata(tmp_path / "m")


def test_a_folder_is_not_an_output(tmp_path: Path) -> None:
    with pytest.raises(OutputInvalid, match="is not a file"):
        read_metadata(tmp_path)
