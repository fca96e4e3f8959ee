"""What every helper must do, run against each of them: a test file lists its models as cases.

::

    class TestTorch(HelperSuite):
        cases = CASES

Other processes import that file, to make the same model anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from fedn.client.outputs import read_metadata, read_metrics
from fedn.errors import BadNumExamples, OutputInvalid, SchemaMismatch
from fedn.model.helpers import Helper
from fedn.model.safetensors import canonicalise, open_model

Array = npt.NDArray[Any]

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "bfloat16",
)  # fmt: skip

# the stdlib has a package `test` too, which a new process would find first
PROGRAM = """
import sys, types
sys.modules["test"] = package = types.ModuleType("test")
package.__path__ = ["test"]
from importlib import import_module
for number, case in enumerate(import_module(sys.argv[1]).CASES):
    case.helper.save(f"{sys.argv[2]}/theirs-{number}", case.make(1))
"""


@dataclass(frozen=True)
class Case:
    """A kind of model: `make` gives one whose values follow from a number, `blank` one to load into."""

    name: str
    helper: Helper
    make: Callable[[int], Any]
    blank: Callable[[], Any]
    state: Callable[[Any], Sequence[Array]]  # all that a model file must hold, as the framework shows it
    step: Callable[[Any], object]  # train a little: some of the state changes
    misfits: Sequence[tuple[Callable[[], Any], str]] = ()  # models that the file does not fit, and why

    def __str__(self) -> str:
        return self.name


def bits_of(dtype: str, shape: tuple[int, ...], *, seed: int = 3) -> Array:
    """An array of random bits: among its floats are NaNs of every kind, infinities and denormals."""
    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
    data = np.random.default_rng(seed).integers(0, 256, (*shape, kind.itemsize), np.uint8)
    return (data & 1 if dtype == "bool" else data).view(kind).reshape(shape)


def arrays_of(dtype: str) -> dict[str, Array]:
    """Arrays of every layout."""
    values = bits_of(dtype, (4, 6))
    return {
        "matrix": values,
        "scalar": values[1, 2, ...],
        "empty": values[:0],
        "transposed": values.T,
        "strided": values[::2, ::3],
        "backwards": values[::-1],
    }


def same(left: Sequence[Array], right: Sequence[Array]) -> bool:
    """Whether dtypes, shapes and bits are the same."""
    return [(a.dtype, a.shape, a.tobytes()) for a in left] == [(a.dtype, a.shape, a.tobytes()) for a in right]


def copied(state: Sequence[Array]) -> list[Array]:
    return [np.array(array) for array in state]


class HelperSuite:
    """The contract of a helper."""

    cases: ClassVar[Sequence[Case]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "misfit" in metafunc.fixturenames:
            misfits = [(case, into, reason) for case in self.cases for into, reason in case.misfits]
            names = [f"{case}-{reason[:40]}" for case, _, reason in misfits]
            metafunc.parametrize(("case", "misfit", "reason"), misfits, ids=names)
        elif "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)

    def test_a_model_comes_back_with_the_same_bits(self, tmp_path: Path, case: Case) -> None:
        model, into = case.make(1), case.blank()
        case.helper.save(tmp_path / "m", model)
        assert case.helper.load(tmp_path / "m", into=into) is into
        assert same(case.state(into), case.state(model))

    def test_saving_leaves_the_model_as_it_was(self, tmp_path: Path, case: Case) -> None:
        model = case.make(1)
        before = copied(case.state(model))
        case.helper.save(tmp_path / "m", model)
        assert same(case.state(model), before)

    def test_the_file_is_canonical_and_the_digest_is_its_own(self, tmp_path: Path, case: Case) -> None:
        digest = case.helper.save(tmp_path / "m", case.make(1))
        assert hashlib.sha256((tmp_path / "m").read_bytes()).hexdigest() == digest
        assert canonicalise(tmp_path / "m", tmp_path / "canonical") == digest

    def test_a_model_loaded_and_saved_again_is_the_same_file(self, tmp_path: Path, case: Case) -> None:
        first = case.helper.save(tmp_path / "1", case.make(1))
        assert case.helper.save(tmp_path / "2", case.helper.load(tmp_path / "1", into=case.blank())) == first

    def test_models_with_other_values_are_other_files_of_one_schema(self, tmp_path: Path, case: Case) -> None:
        first, second = (case.helper.save(tmp_path / str(k), case.make(k)) for k in (1, 2))
        assert first != second
        assert open_model(tmp_path / "1").schema == open_model(tmp_path / "2").schema

    def test_another_process_writes_the_same_bytes(self, tmp_path: Path) -> None:
        for case in self.cases:  # this process has then made more models than the other: names must not count them
            case.make(2)
        command = [sys.executable, "-c", PROGRAM, type(self).__module__, str(tmp_path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr
        for number, case in enumerate(self.cases):
            case.helper.save(tmp_path / "ours", case.make(1))
            assert (tmp_path / f"theirs-{number}").read_bytes() == (tmp_path / "ours").read_bytes(), case.name

    def test_training_goes_on_after_a_load(self, tmp_path: Path, case: Case) -> None:
        seed = case.helper.save(tmp_path / "seed", case.make(1))
        model = case.helper.load(tmp_path / "seed", into=case.blank())
        case.step(model)
        trained = case.helper.save(tmp_path / "trained", model, num_examples=8)
        assert trained != seed
        assert open_model(tmp_path / "trained").schema == open_model(tmp_path / "seed").schema
        again = case.helper.load(tmp_path / "trained", into=case.blank())
        case.step(again)
        assert case.helper.save(tmp_path / "again", again) != trained

    def test_a_load_replaces_what_training_made(self, tmp_path: Path, case: Case) -> None:
        model = case.helper.load(self.saved(tmp_path, case), into=case.blank())
        case.step(model)
        case.helper.load(tmp_path / "m", into=model)
        assert same(case.state(model), case.state(case.make(1)))

    def test_a_file_of_another_model_is_refused_and_the_model_stays(
        self, tmp_path: Path, case: Case, misfit: Callable[[], Any], reason: str
    ) -> None:
        into = misfit()
        before, path = copied(case.state(into)), self.saved(tmp_path, case)
        with pytest.raises(SchemaMismatch) as refused:
            case.helper.load(path, into=into)
        assert refused.value.reason == reason
        assert same(case.state(into), before)

    def test_metadata_is_what_a_client_reads(self, tmp_path: Path, case: Case) -> None:
        metrics = {"loss": np.float32(0.5), "accuracy": 1}
        case.helper.save(tmp_path / "m", case.make(1), num_examples=np.int64(12), metrics=metrics)  # type: ignore[arg-type]
        found = read_metadata(tmp_path / "m-metadata")
        assert (found.num_examples, found.metrics) == (12, {"loss": 0.5, "accuracy": 1.0})
        assert json.loads((tmp_path / "m-metadata").read_text())["num_examples"] == 12

    def test_a_seed_model_is_one_file(self, tmp_path: Path, case: Case) -> None:
        case.helper.save(tmp_path / "m", case.make(1))
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_metrics_are_what_a_client_reads(self, tmp_path: Path, case: Case) -> None:
        case.helper.save_metrics(tmp_path / "v.json", {"loss": np.float64(0.25)}, num_examples=8)
        found = read_metrics(tmp_path / "v.json")
        assert (found.num_examples, found.metrics) == (8, {"loss": 0.25})

    @pytest.mark.parametrize("count", [0, -1, True, 2.0, "3"])
    def test_a_num_examples_that_is_no_count_is_refused(self, tmp_path: Path, case: Case, count: Any) -> None:
        with pytest.raises(BadNumExamples, match="num_examples is"):
            case.helper.save(tmp_path / "m", case.make(1), num_examples=count)
        with pytest.raises(BadNumExamples, match="num_examples is"):
            case.helper.save_metrics(tmp_path / "v.json", {}, num_examples=count)
        assert list(tmp_path.iterdir()) == []

    def test_a_metric_that_is_not_finite_is_refused(self, tmp_path: Path, case: Case) -> None:
        with pytest.raises(OutputInvalid, match="metric 'loss' is nan"):
            case.helper.save(tmp_path / "m", case.make(1), num_examples=1, metrics={"loss": float("nan")})
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_synced(self, tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        case.helper.save(tmp_path / "m", case.make(1), num_examples=1)
        assert synced == []

    @staticmethod
    def saved(folder: Path, case: Case) -> Path:
        case.helper.save(folder / "m", case.make(1))
        return folder / "m"
