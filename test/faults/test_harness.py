"""The harness itself: a halt halts once, and the judge sees what is wrong."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fedn.model.safetensors import write_model
from test.faults import judge
from test.faults.control import FOLDER, ROLE, Halt, pass_by
from test.faults.halting import POINTS, found
from test.faults.site import ELEMENTS, Site
from test.system.network import until


@pytest.fixture
def halt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Halt:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(ROLE, "north")
    return Halt(tmp_path, "north", "fold")


def test_a_halt_waits_until_it_may_go_and_the_next_life_passes(halt: Halt) -> None:
    halt.ask({"round": 2})
    pass_by("fold", round=1)
    pass_by("other", round=2)
    assert halt.reached() is None
    halted = threading.Thread(target=pass_by, args=("fold",), kwargs={"round": 2})
    halted.start()
    until(halt.reached, "it halts")
    pass_by("fold", round=2)  # as after a restart
    assert halted.is_alive()
    halt.go()
    halted.join(10)
    assert not halted.is_alive()


def test_each_point_is_in_the_production_code() -> None:
    for point in itertools.chain.from_iterable(POINTS.values()):
        owner, name = found(point.where)
        assert callable(getattr(owner, name)), point


@dataclass
class Fake:
    """What the judge looks at: a folder of blobs, and what the puppet noted."""

    control: Path

    def blob(self, digest: str) -> Path:
        return self.control / "blobs" / digest


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    for name in ("kept", "blobs"):
        (tmp_path / name).mkdir()
    return Fake(tmp_path)


def put(folder: Path, value: float) -> str:
    digest = write_model(folder / "new", {"w": np.full(ELEMENTS, value, np.float32)})
    (folder / "new").replace(folder / digest)
    return digest


def record(fake: Fake, updates: Sequence[tuple[float, int]], mean: float) -> dict[str, Any]:
    named = [{"update": put(fake.control / "kept", value), "num_examples": count} for value, count in updates]
    (fake.control / "blobs" / "receipt").write_text(json.dumps({"updates": named}))
    blobs = fake.control / "blobs"
    return {"round": 1, "receipt": "receipt", "parent": put(blobs, 0.0), "model": put(blobs, mean)}


def test_the_mean_of_the_receipt_is_recomputed(fake: Fake) -> None:
    site = cast(Site, fake)
    assert not list(judge.mean_of_receipt(site, record(fake, [(0.0, 1), (10.0, 9)], 9.0)))
    wrong = list(judge.mean_of_receipt(site, record(fake, [(0.0, 1), (10.0, 9)], 5.0)))
    assert "the mean of its receipt" in wrong[0]
    assert "not the nearest float32" in wrong[1]


def test_an_update_that_nobody_made_is_seen(fake: Fake) -> None:
    found = record(fake, [(1.0, 1)], 1.0)
    next((fake.control / "kept").iterdir()).unlink()
    assert "no client made" in next(judge.mean_of_receipt(cast(Site, fake), found))


def test_a_training_that_begins_after_its_update_was_kept_is_seen(fake: Fake) -> None:
    runs = [("began", 1), ("began", 1), ("kept", 1), ("began", 2), ("kept", 2)]
    lines = [{"event": event, "session": "s", "round": number, "client": "c0"} for event, number in runs]
    path = fake.control / "runs"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not list(judge.nothing_was_trained_twice(cast(Site, fake), "s"))
    path.write_text(path.read_text() + json.dumps(lines[0]) + "\n")
    assert len(list(judge.nothing_was_trained_twice(cast(Site, fake), "s"))) == 1
