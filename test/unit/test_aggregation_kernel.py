"""The compiled kernel beside numpy: the same bits, the same errors, and numpy where there is no kernel."""

from __future__ import annotations

import ctypes.util
import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fedn.aggregation import agreement
from fedn.aggregation.agreement import load
from fedn.aggregation.fold import Contribution, check_update, fold
from fedn.aggregation.kernel import FILES_AT_ONCE, Kernel, Piece
from fedn.combiner.server import kernel_of
from fedn.config import CombinerSettings
from fedn.errors import ModelInvalid
from fedn.model.safetensors import open_model, write_model
from fedn.model.schema import DTYPES
from test.unit.combiner_bench import table

ROOT = Path(__file__).parents[2]
SPREADS = {"ordinary": (-6, 0), "wide": (-60, 40), "widest": (-148, 120), "subnormal": (-149, -127)}


def updates(folder: Path, dtype: str, *, size: int, count: int, spread: tuple[int, int]) -> list[Contribution]:
    """Updates of two tensors, the second of which begins in the middle of a register."""
    checked = []
    for number in range(count):
        rng = np.random.default_rng(number)
        low, high = (max(spread[0], -25), min(max(spread[1], -14), 15)) if dtype == "F16" else spread
        sizes = np.where(rng.random(size) < 0.05, 0.0, 2.0 ** rng.uniform(low, high, size))
        values = (rng.choice([-1.0, 1.0], size) * sizes).astype(DTYPES[dtype])
        path = folder / f"update-{number}"
        write_model(path, {"a": values[: size // 3], "b": values[size // 3 :]})
        model = open_model(path)
        checked.append(Contribution(model, int(rng.integers(1, 2**29)), check_update(model, model.schema)))
    return checked


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64"])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=list(SPREADS))
@pytest.mark.parametrize(("size", "block", "count"), [(1, 1, 3), (20_011, 131_072, 5), (9001, 701, 2)])
def test_a_fold_has_the_bytes_that_numpy_writes(
    tmp_path: Path,
    kernel: Kernel | None,
    dtype: str,
    spread: tuple[int, int],
    size: int,
    block: int,
    count: int,
) -> None:
    checked = updates(tmp_path, dtype, size=size, count=count, spread=spread)
    fold(checked, tmp_path / "numpy", threads=1)
    fold(checked, tmp_path / "sums", block=block, threads=2, kernel=kernel)
    assert (tmp_path / "sums").read_bytes() == (tmp_path / "numpy").read_bytes()


def opened() -> Iterator[Path]:
    """The files that this process has open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            yield descriptor.readlink()


def test_more_updates_than_files_are_open_at_once_have_the_same_bytes(tmp_path: Path, kernel: Kernel | None) -> None:
    few = updates(tmp_path, "F32", size=1000, count=3, spread=(-20, 3))
    for count, threads in ((FILES_AT_ONCE, 1), (FILES_AT_ONCE + 1, 1), (3 * FILES_AT_ONCE, 2), (5, 40)):
        checked = (few * count)[:count]
        fold(checked, tmp_path / "numpy")
        fold(checked, tmp_path / "sums", kernel=kernel, threads=threads, block=100)
        assert not [path for path in opened() if path.is_relative_to(tmp_path)]
        assert (tmp_path / "sums").read_bytes() == (tmp_path / "numpy").read_bytes()


def test_updates_in_float16_and_bfloat16_fold_to_a_float32_models_sums(tmp_path: Path, kernel: Kernel | None) -> None:
    whole = updates(tmp_path, "F32", size=5000, count=1, spread=(-20, 3))[0].model.schema
    for wire in ("F16", "BF16"):
        sent = [each.model for each in updates(tmp_path, wire, size=5000, count=3, spread=(-20, 3))]
        checked = [Contribution(model, 7, check_update(model, whole, wire=wire)) for model in sent]
        fold(checked, tmp_path / "numpy", schema=whole, wire=wire)
        fold(checked, tmp_path / "sums", schema=whole, wire=wire, kernel=kernel)
        assert (tmp_path / "sums").read_bytes() == (tmp_path / "numpy").read_bytes()


def test_an_update_that_is_shorter_or_gone_leaves_no_sums(tmp_path: Path, kernel: Kernel | None) -> None:
    checked = updates(tmp_path, "F32", size=5000, count=3, spread=(-6, 0))
    os.truncate(checked[1].model.path, checked[1].model.size - 1)
    with pytest.raises(ModelInvalid, match="became shorter"):
        fold(checked, tmp_path / "sums", kernel=kernel)
    checked[1].model.path.unlink()
    with pytest.raises(FileNotFoundError):
        fold(checked, tmp_path / "sums", kernel=kernel)
    checked[1].model.path.mkdir()
    with pytest.raises(IsADirectoryError):
        fold(checked, tmp_path / "sums", kernel=kernel)
    assert {path.name for path in tmp_path.iterdir()} == {"update-0", "update-1", "update-2"}


# ── which is used ────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_library_of_ours_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    other = ctypes.util.find_library("c")
    assert other is not None
    for path, why in [
        (tmp_path / "missing.so", "cannot open"),
        (tmp_path / "text.so", "file too short|invalid ELF header"),
        (Path(other), "undefined symbol: fedn_kernel"),
    ]:
        with pytest.raises(ImportError, match=why):
            load(path)


class Inexact(Kernel):
    """Forgets the last update of all."""

    def __init__(self, path: Path) -> None:
        pass

    chunk = 0

    def fold(self, pieces: Sequence[Piece], rows: Any, anchors: Any, **more: Any) -> int:
        for row in rows:
            row[:] = 0.0
        return 0


def test_a_kernel_whose_sums_are_not_numpys_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "Kernel", Inexact)
    with pytest.raises(ImportError, match="does not give the sums that numpy gives"):
        load()


async def test_a_combiner_says_what_it_folds_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert kernel_of(CombinerSettings(kernel="numpy")) == (None, "numpy, as the settings say")
    monkeypatch.setattr(agreement, "load", lambda: Kernel(Path("/nowhere/libkernel.so")))
    kernel, said = kernel_of(CombinerSettings())
    assert kernel is None
    assert said.startswith("numpy: there is no compiled kernel (/nowhere/libkernel.so")
    some = Inexact(Path())
    monkeypatch.setattr(agreement, "load", lambda: some)
    assert kernel_of(CombinerSettings()) == (some, "the compiled kernel")
    caplog.set_level(logging.INFO)
    async with table(tmp_path):
        assert "models are folded with the compiled kernel" in caplog.text


# ── how it is built ──────────────────────────────────────────────────────────────────────────────


class Warnings:
    def __init__(self) -> None:
        self.said: list[str] = []

    def display_warning(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def hatch_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, hatch_build: ModuleType) -> Path:
    """A source tree in which an older build has left its library."""
    (tmp_path / hatch_build.SOURCE).parent.mkdir(parents=True)
    shutil.copy(ROOT / hatch_build.SOURCE, tmp_path / hatch_build.SOURCE)
    (tmp_path / hatch_build.LIBRARY).write_text("old")
    return tmp_path


def built(hatch_build: ModuleType, root: Path) -> tuple[dict[str, Any], list[str]]:
    warnings, data = Warnings(), {"pure_python": True, "artifacts": []}
    hatch_build.KernelHook(str(root), {}, None, None, "", "wheel", warnings).initialize("standard", data)
    return data, warnings.said


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_without_a_compiler_that_works_the_wheel_is_pure_python(
    monkeypatch: pytest.MonkeyPatch, hatch_build: ModuleType, tree: Path, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.delenv("FEDN_REQUIRE_KERNEL", raising=False)
    data, said = built(hatch_build, tree)
    assert data == {"pure_python": True, "artifacts": []}
    assert len(said) == 1
    assert "without the compiled kernel" in said[0]
    assert [path.name for path in (tree / hatch_build.LIBRARY).parent.iterdir()] == ["kernel.c"]
    monkeypatch.setenv("FEDN_REQUIRE_KERNEL", "1")
    with pytest.raises(RuntimeError, match="was not compiled"):
        built(hatch_build, tree)


def test_a_wheel_with_the_kernel_is_of_its_platform(
    monkeypatch: pytest.MonkeyPatch, hatch_build: ModuleType, tree: Path
) -> None:
    """What a compiler is told; whether a real one does it, every test of the kernel says."""
    compiler = tree / "cc"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do echo "$1" >> "$0.told"; shift; done\necho new > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", f"{compiler} -march=any")
    data, said = built(hatch_build, tree)
    assert said == []
    assert data["artifacts"] == [hatch_build.LIBRARY]
    assert data["pure_python"] is False
    assert data["tag"].startswith("py3-none-linux_")
    assert (tree / hatch_build.LIBRARY).read_text() == "new\n"
    told = Path(f"{compiler}.told").read_text().split()
    assert {"-march=any", "-ffp-contract=off", "-fno-fast-math"} <= set(told)
