"""Packages that the reducer would refuse, put into its stores behind its back: what each client says of them (I8)."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fedn.config import ReducerSettings
from fedn.model.safetensors import digest_of
from fedn.reducer.api.context import keep
from fedn.storage.opening import open_blobs, open_state
from test.system.network import Network

Entry = tuple[tarfile.TarInfo, bytes]
YAML = "entry_points: {train: python train.py}\n"
OTHER_SHAPE = """\
import sys
import numpy as np
from fedn.model.helpers import numpy as helper
helper.load(sys.argv[1], into={"w": np.zeros(3, np.float32), "steps": np.zeros(1, np.int64)})
"""
FALLS = "print('warming up')\nraise RuntimeError('the scanner is off')\n"


def file(name: str, content: str = "", *, size: int | None = None) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content) if size is None else size
    return info, content.encode()


def special(name: str, kind: bytes, target: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def script(code: str, yaml: str = YAML) -> list[Entry]:
    return [file("fedn.yaml", yaml), file("train.py", code)]


MANIFEST = file("fedn.yaml", YAML)
BAD: dict[str, tuple[list[Entry], str, str]] = {  # what is in it, the code, words of the reason
    "a path outside": ([MANIFEST, file("../../evil.py")], "package_path_outside", "'../../evil.py' leads out of"),
    "an absolute path": ([MANIFEST, file("/tmp/evil.py")], "package_path_outside", "is an absolute path"),
    "a symbolic link": ([MANIFEST, special("key", tarfile.SYMTYPE, "/etc/passwd")], "package_link", "a symbolic link"),
    "a hard link": ([MANIFEST, special("key", tarfile.LNKTYPE, "/etc/passwd")], "package_link", "a hard link"),
    "a device": ([MANIFEST, special("disk", tarfile.BLKTYPE)], "package_device", "'disk' is a device"),
    "too many files": ([MANIFEST, *(file(f"f{k}") for k in range(10_001))], "package_too_large", "more than 10000"),
    "too many bytes": ([MANIFEST, file("zeros", size=2**28 + 1)], "package_too_large", "more than 268435456 bytes"),
    "no fedn.yaml": ([file("train.py")], "package_invalid", "there is no fedn.yaml"),
    "no entry point": (
        [file("fedn.yaml", "entry_points: {validate: x}\n")],
        "no_entry_point",
        "fedn.yaml:1: there is no entry point 'train'",
    ),
    "no such program": (script("", "entry_points: {train: trian}\n"), "command_missing", "cannot run 'trian'"),
    "no such script": ([MANIFEST], "command_missing", "there is no file 'train.py' in the package"),
    "a model of other shape": (
        script(OTHER_SHAPE),
        "schema_mismatch",
        "`python train.py`: tensor 'w' is float32 [8] in the file, float32 [3] in the model",
    ),
    "an environment that cannot be made": (
        [file("fedn.yaml", "python_env: needs.txt\n" + YAML), file("train.py"), file("needs.txt", "./gone.whl\n")],
        "environment_failed",
        "the virtual environment could not be made: ERROR: ",
    ),
    "requirements that are not there": (
        [file("fedn.yaml", "python_env: needs.txt\n" + YAML), file("train.py")],
        "package_invalid",
        "needs.txt: No such file",
    ),
    "a script that fails": (
        script(FALLS),
        "entry_point_failed",
        "`python train.py` ended with exit code 1: RuntimeError: the scanner is off",
    ),
}


def archive(members: list[Entry]) -> bytes:
    """The archive as a stranger's tool would write it; zipped, since some are large."""
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=1) as zipped:
        for info, content in members:
            zipped.write(info.tobuf(tarfile.GNU_FORMAT))
            zipped.write(content + bytes(-len(content) % 512))
        zipped.write(bytes(1024))
    return out.getvalue()


def smuggle(net: Network, content: bytes) -> None:
    """Make this the network's compute package."""
    path = net.folder / "evil.tar"
    path.write_bytes(content)
    digest = digest_of(path)
    settings = ReducerSettings(dir=net.folder / "reducer")
    open_blobs(settings).put(path, digest)
    state = open_state(settings)
    try:
        entry_points = {"train": ["python", "train.py"]}
        described = {"name": "evil", "size": len(content), "entry_points": entry_points}
        keep(state, {"_id": "package", "digest": digest} | described)
    finally:
        state.close()


@pytest.fixture
def smuggled(net: Network, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The session that was tried with a bad package; the good one is back at the end."""
    smuggle(net, archive(BAD[request.param][0]))
    session = net.start(rounds=1, attempts=1, validate=False)
    yield net.ended(session)
    net.plant()


@pytest.mark.parametrize(("smuggled", "what"), [(what, what) for what in BAD], indirect=["smuggled"])
def test_each_client_names_what_is_wrong_and_the_reducer_shows_it(
    net: Network, smuggled: dict[str, Any], what: str
) -> None:
    _, code, words = BAD[what]
    assert (smuggled["status"], smuggled["code"]) == ("failed", "quorum_not_met")
    failures = smuggled["rounds"][0]["failures"]
    assert {failure["name"]: failure["code"] for failure in failures} == dict.fromkeys(("c0", "c1", "c2"), code)
    assert all(words in failure["reason"] for failure in failures)
    assert not Path("/tmp/evil.py").exists()
    assert not list(net.folder.rglob("evil.py"))


@pytest.mark.parametrize("smuggled", ["a symbolic link"], indirect=True)
def test_people_are_shown_it(net: Network, smuggled: dict[str, Any], page: Page) -> None:
    shown = net.fedn("session", "status", smuggled["id"])
    assert "c1: 'key' is a symbolic link; only plain files may be in it [package_link]" in shown.stdout
    page.goto(f"{net.address}/plot")
    page.locator("#rounds summary").first.click()
    for words in ("c1", "'key' is a symbolic link", "package_link"):
        expect(page.locator(".failures").first).to_contain_text(words)
