"""Helpers by name: FEDn's own, and those of packages that are really installed, on a path of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedn.errors import FrameworkMissing, HelperInvalid, HelperUnknown
from fedn.model import helpers
from fedn.model.helpers import numpy as numpy_helper

GOOD = """
import numpy as np
from fedn.model.helpers import numpy
from fedn.model.helpers.metadata import save_metadata, save_metrics

def load(path, into=None):
    values = numpy.load(path)["values"].tolist()
    if into is None:
        return values
    into[:] = values
    return into

def save(path, model, *, num_examples=None, metrics=None):
    return numpy.save(path, {"values": np.array(model)}, num_examples=num_examples, metrics=metrics)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, which this process sees."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, package: str, code: str, **entry_points: str) -> None:
    (site / f"{package}.py").write_text(code)
    info = site / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[fedn.helpers]", *lines]) + "\n")


@pytest.mark.parametrize("name", ["numpy", "sklearn", "torch"])
def test_helpers_of_fedn_are_there_by_name(name: str) -> None:
    assert helpers.get(name).__name__ == f"fedn.model.helpers.{name}"  # type: ignore[attr-defined]


def test_the_helper_of_a_package_is_there_by_name(site: Path, tmp_path: Path) -> None:
    install(site, "lists_one", GOOD, lists="lists_one")
    assert helpers.names() == ["keras", "lists", "numpy", "sklearn", "torch"]
    assert "lists_one" not in sys.modules
    helper = helpers.get("lists")
    helper.save(tmp_path / "m", [1.0, 2.5], num_examples=3, metrics={"loss": 0.5})
    assert helper.load(tmp_path / "m") == [1.0, 2.5]
    assert numpy_helper.load(tmp_path / "m")["values"].dtype == np.float64
    assert (tmp_path / "m-metadata").exists()


def test_a_helper_may_be_an_object(site: Path, tmp_path: Path) -> None:
    code = (
        "class Helper:\n  def load(self, path, into=None): return 1\n  save = save_metrics = load\nhelper = Helper()\n"
    )
    install(site, "lists_two", code, constant="lists_two:helper")
    assert helpers.get("constant").load(tmp_path / "m") == 1


def test_a_package_cannot_take_a_name_of_fedn(site: Path) -> None:
    install(site, "lists_three", GOOD, numpy="lists_three")
    assert helpers.get("numpy") is numpy_helper  # type: ignore[comparison-overlap]
    assert helpers.names() == ["keras", "numpy", "sklearn", "torch"]


def test_an_unknown_name_is_refused_with_those_that_there_are(site: Path) -> None:
    install(site, "lists_four", GOOD, lists="lists_four")
    with pytest.raises(HelperUnknown) as refused:
        helpers.get("pytorch")
    assert refused.value.reason == "there is no helper 'pytorch'; there are keras, lists, numpy, sklearn, torch"


@pytest.mark.parametrize(
    ("code", "value", "reason"),
    [
        ("def load(): ...", "NAME", "has no save and no save_metrics"),
        ("load = save = save_metrics = 3", "NAME", "has no load and no save and no save_metrics"),
        ("import a_framework_that_is_away", "NAME", "cannot be imported: No module named 'a_framework_that_is_away'"),
        ("", "NAME:helper", "cannot be imported: module 'NAME' has no attribute 'helper'"),
    ],
)
def test_a_broken_helper_is_refused_by_the_name_of_its_package(site: Path, code: str, value: str, reason: str) -> None:
    package = f"broken_{abs(hash((code, value)))}"
    value, reason = value.replace("NAME", package), reason.replace("NAME", package)
    install(site, package, code, broken=value)
    with pytest.raises(HelperInvalid) as refused:
        helpers.get("broken")
    assert refused.value.reason == f"helper 'broken' ({value}, of {package} 1.2) {reason}"


def test_a_name_that_two_packages_offer_is_refused(site: Path) -> None:
    install(site, "lists_five", GOOD, lists="lists_five")
    install(site, "lists_six", GOOD, lists="lists_six")
    with pytest.raises(HelperInvalid, match=r"offered more than once: .*lists_(five|six).*lists_(five|six)"):
        helpers.get("lists")


@pytest.mark.parametrize(
    ("name", "missing"), [("torch", "torch"), ("keras", "keras"), ("keras", "tensorflow"), ("sklearn", "sklearn")]
)
def test_a_framework_that_is_not_installed_is_named_with_the_extra(name: str, missing: str) -> None:
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "{missing}":
            raise ModuleNotFoundError("No module named '{missing}'", name="{missing}")
sys.meta_path.insert(0, Absent())
from fedn.errors import FednError
from fedn.model import helpers
try:
    helpers.get("{name}")
except FednError as error:
    print(error.code, error.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told = f"framework_missing helper {name!r} needs {missing}, which is not installed here: pip install 'fedn[{name}]'"
    assert done.stdout.strip() == told
    assert FrameworkMissing.code == "framework_missing"
