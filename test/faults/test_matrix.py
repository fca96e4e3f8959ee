"""A part of the matrix, for every day: each of those who are hit, each moment, each way. All of it: `make faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.faults.rows import HOW, WHEN, WHO, Row
from test.faults.sites import Sites
from test.faults.table import EVERYTHING

pytestmark = pytest.mark.system

SAMPLE = (
    "reducer, before dispatch, kill -9",
    "leader, while the model travels to a combiner, kill -9",
    "client, while the model downloads, SIGSTOP",
    "child, while training, kill -9",
    "client, in the middle of an upload, kill -9",
    "combiner, after an upload, before it is submitted, kill -9",
    "combiner, after an update was accepted, before its receipt, kill -9",
    "combiner, while a combiner folds, SIGTERM",
    "all, after an update was accepted, before its receipt, kill -9",
    "reducer, while the sums travel to the reducer, kill -9",
    "reducer, while the reducer folds, SIGTERM",
    "leader, between blob and trail record, SIGSTOP",
    "client (process), while validating, kill -9",
    "mongo, after the trail record, kill -9",
    "s3, between blob and trail record, kill -9",
    "loss of c0 (north), after an update was accepted, before its receipt, kill -9, quorum 3",
    "loss of south, after an upload, before it is submitted, kill -9, quorum 4",
)
ROWS = {fault.name: fault for fault in EVERYTHING}
TAIL_LINES = 40


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    made = Sites(tmp_path_factory.mktemp("faults"))
    try:
        yield made
        made.verified()
    finally:
        made.drop()


def show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        print(f"── {log.name}\n{tail}")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_costs_nothing_but_time(sites: Sites, name: str) -> None:
    """I1, I2, I3, I4, I5, I9: the same model, nothing trained twice; a loss costs what was lost (I8)."""
    found, folder = sites.play(ROWS[name])
    if not found.holds:
        show_logs(folder)
    assert found.wrong == ()


def test_the_sample_has_each_of_those_who_are_hit_and_each_moment_and_each_way() -> None:
    sampled = [row for row in map(ROWS.__getitem__, SAMPLE) if isinstance(row, Row)]
    assert {fault.victim.partition(" ")[0] for fault in sampled} == set(WHO)
    assert {fault.when for fault in sampled} == set(WHEN)
    assert {fault.how for fault in sampled} == set(HOW)


def test_no_two_rows_are_the_same() -> None:
    assert len(ROWS) == len(EVERYTHING)
