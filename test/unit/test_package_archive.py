from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedn.errors import ConfigInvalid, DigestMismatch, FolderUnusable, NotFound, PackageInvalid
from fedn.package.archive import create, inspect, unpack
from fedn.package.entry_point import EntryPoint
from fedn.package.project import load_project

YAML = "name: small\nentry_points:\n  train: python train.py\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "project")


def written(folder: Path, *, reverse: bool = False) -> Path:
    files = {
        "train.py": b"print(1)\n",
        "lib/é deep/x.bin": bytes(range(256)) * 50,
        "run.sh": b"#!/bin/sh\n",
        "b/" + "n" * 150: b"",
    }
    for name in sorted(files, reverse=reverse):
        path = folder / "client" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    (folder / "client" / "run.sh").chmod(0o750)
    (folder / "fedn.yaml").write_text(YAML)
    (folder / "init_model.py").write_text("stays at home")
    return folder


def names_in(archive: Path) -> list[str]:
    return [name for name, _ in inspect(archive).files]


def test_what_is_created_unpacks_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    digest = create(load_project(folder), tmp_path / "p.tar")
    assert digest == hashlib.sha256((tmp_path / "p.tar").read_bytes()).hexdigest()
    manifest = unpack(tmp_path / "p.tar", digest, tmp_path / "new" / "out")
    assert (manifest.name, manifest.entry_points) == ("small", {"train": EntryPoint(("python", "train.py"))})
    out = tmp_path / "new" / "out"
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    client = folder / "client"
    expected = {str(p.relative_to(client)): p.read_bytes() for p in client.rglob("*") if p.is_file()}
    assert found == expected | {"fedn.yaml": YAML.encode()}
    assert os.access(out / "run.sh", os.X_OK)
    assert not (out / "train.py").stat().st_mode & 0o111
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = create(load_project(folder), tmp_path / "1.tar")
    other = written(tmp_path / "elsewhere" / "project", reverse=True)
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (number, number))
    (other / "client" / "train.py").chmod(0o600)
    assert create(load_project(other), tmp_path / "2.tar") == first
    (other / "client" / "train.py").write_text("print(2)\n")
    assert create(load_project(other), tmp_path / "2.tar") != first


def test_the_archive_is_plain_and_sorted(folder: Path, tmp_path: Path) -> None:
    create(load_project(folder), tmp_path / "p.tar")
    with tarfile.open(tmp_path / "p.tar", "r:") as tar:
        infos = tar.getmembers()
    assert [i.name for i in infos] == ["b/" + "n" * 150, "fedn.yaml", "lib/é deep/x.bin", "run.sh", "train.py"]
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname) for i in infos} == {(0, 0, 0, "", "")}
    assert {i.mode for i in infos} == {0o644, 0o755}


def test_caches_and_what_fednignore_names_stay_at_home(folder: Path, tmp_path: Path) -> None:
    client = folder / "client"
    for name in (
        "__pycache__/x.py", ".git/HEAD", ".venv/bin/python", "a.pyc", "lib/b.pyc", "data/big.csv", "keep/data.csv",
        "notes.txt", "lib/notes.txt", "only/here.txt", "lib/only/here.txt", "folder", "lib/folder/x",
    ):  # fmt: skip
        (client / name).parent.mkdir(parents=True, exist_ok=True)
        (client / name).write_text("x")
    (client / ".venv" / "link").symlink_to("/")
    (client / ".fednignore").write_text("# comment\n\n*.txt.bak\nnotes.*\n/data\nonly/*.txt\nfolder/\n")
    create(load_project(folder), tmp_path / "p.tar")
    assert names_in(tmp_path / "p.tar") == [
        "b/" + "n" * 150, "fedn.yaml", "folder", "keep/data.csv", "lib/only/here.txt", "lib/é deep/x.bin", "run.sh",
        "train.py",
    ]  # fmt: skip


def test_negation_in_fednignore_is_refused_with_its_line(folder: Path, tmp_path: Path) -> None:
    (folder / "client" / ".fednignore").write_text("*.csv\n!keep.csv\n")
    with pytest.raises(ConfigInvalid, match=r"\.fednignore:2: '!keep\.csv': negation"):
        create(load_project(folder), tmp_path / "p.tar")


def test_an_archive_made_inside_its_folder_does_not_hold_itself(folder: Path) -> None:
    target = folder / "client" / "p.tar"
    first = create(load_project(folder), target)
    assert create(load_project(folder), target) == first
    assert "p.tar" not in names_in(target)


@pytest.mark.parametrize("kind", ["file link", "folder link", "pipe"])
def test_what_is_no_plain_file_does_not_travel(folder: Path, tmp_path: Path, kind: str) -> None:
    odd = folder / "client" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/etc/hostname" if kind == "file link" else "/etc")
    with pytest.raises(PackageInvalid, match="odd is"):
        create(load_project(folder), tmp_path / "p.tar")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]


def test_a_name_that_would_be_refused_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "client" / "a\nb").write_text("x")
    with pytest.raises(PackageInvalid, match="no name for a file"):
        create(load_project(folder), tmp_path / "p.tar")
    assert not (tmp_path / "p.tar").exists()


def test_the_projects_own_fedn_yaml_wins(folder: Path, tmp_path: Path) -> None:
    (folder / "client" / "fedn.yaml").write_text("name: other\nentry_points: {train: x}\n")
    create(load_project(folder), tmp_path / "p.tar")
    assert inspect(tmp_path / "p.tar").manifest.name == "small"


def test_a_folder_that_cannot_be_written_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="cannot be written"):
        create(load_project(folder), tmp_path / "file" / "p.tar")


def test_inspect_says_what_is_inside(folder: Path, tmp_path: Path) -> None:
    digest = create(load_project(folder), tmp_path / "p.tar")
    info = inspect(tmp_path / "p.tar")
    assert (info.digest, info.size) == (digest, (tmp_path / "p.tar").stat().st_size)
    assert ("lib/é deep/x.bin", 12800) in info.files
    assert info.manifest.entry_points == {"train": EntryPoint(("python", "train.py"))}
    with pytest.raises(NotFound):
        inspect(tmp_path / "none.tar")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("zipped", [True, False])
def test_archives_of_other_tools_are_read(folder: Path, tmp_path: Path, form: int, zipped: bool) -> None:
    long = "/".join(["d" * 40] * (3 if form == tarfile.USTAR_FORMAT else 5))
    shutil.rmtree(folder / "client" / "b")  # a name that ustar cannot hold
    (folder / "client" / long).mkdir(parents=True)
    (folder / "client" / long / "file").write_text("deep")
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w:gz" if zipped else "w", format=form) as tar:
        tar.add(folder / "client", arcname=".")
        tar.add(folder / "fedn.yaml", arcname="./fedn.yaml")
    unpack(path, hashlib.sha256(path.read_bytes()).hexdigest(), tmp_path / "out")
    assert (tmp_path / "out" / long / "file").read_text() == "deep"
    assert (tmp_path / "out" / "lib" / "é deep" / "x.bin").read_bytes() == bytes(range(256)) * 50


def test_other_bytes_than_announced_are_not_unpacked(folder: Path, tmp_path: Path) -> None:
    create(load_project(folder), tmp_path / "p.tar")
    with pytest.raises(DigestMismatch):
        unpack(tmp_path / "p.tar", "0" * 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpacking_again_changes_nothing_and_mends_what_is_broken(folder: Path, tmp_path: Path) -> None:
    digest = create(load_project(folder), tmp_path / "p.tar")
    out = tmp_path / "packages" / digest
    unpack(tmp_path / "p.tar", digest, out)
    (out / "cache.npz").write_text("made by a script")
    unpack(tmp_path / "p.tar", digest, out)
    assert (out / "cache.npz").exists()
    (out / "train.py").write_text("")  # as after a power failure
    unpack(tmp_path / "p.tar", digest, out)
    assert (out / "train.py").read_text() == "print(1)\n"
    (out / "train.py").unlink()
    unpack(tmp_path / "p.tar", digest, out)
    assert (out / "train.py").exists()
    assert [p.name for p in out.parent.iterdir()] == [digest]


def test_clients_that_share_a_folder_may_unpack_at_once(folder: Path, tmp_path: Path) -> None:
    digest = create(load_project(folder), tmp_path / "p.tar")
    with ThreadPoolExecutor(6) as pool:
        unpacked = list(pool.map(lambda _: unpack(tmp_path / "p.tar", digest, tmp_path / "x" / "out"), range(6)))
    assert len({m.name for m in unpacked}) == 1
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["out"]


def test_gzip_is_recognised_by_its_bytes(folder: Path, tmp_path: Path) -> None:
    create(load_project(folder), tmp_path / "p.tar")
    zipped = tmp_path / "no-suffix"
    zipped.write_bytes(gzip.compress((tmp_path / "p.tar").read_bytes()))
    assert names_in(zipped) == names_in(tmp_path / "p.tar")
