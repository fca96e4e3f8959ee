"""The compute package as one file: the same project folder always gives the same bytes.

What is created, inspected and unpacked goes through the same checks (`fedn.package.tar`).
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedn.errors import (
    ConfigInvalid,
    DigestMismatch,
    NotFound,
    PackageDevice,
    PackageInvalid,
    PackageLink,
    cannot_write,
)
from fedn.package.ignore import Ignore
from fedn.package.project import FILE, Manifest, Project
from fedn.package.tar import Member, members
from fedn.yaml_file import MAX_BYTES


@dataclass(frozen=True)
class PackageLimits:
    """How much a package may hold, unpacked."""

    max_files: int = 10_000
    max_bytes: int = 256 * 1024 * 1024


LIMITS = PackageLimits()


@dataclass(frozen=True)
class PackageInfo:
    """What is in an archive: `size` is the archive's, `files` are names and sizes."""

    digest: str
    size: int
    files: tuple[tuple[str, int], ...]
    manifest: Manifest


def create(project: Project, destination: Path) -> str:
    """Write the project's package, an uncompressed tar, and return its sha256. Raises PackageInvalid, FolderUnusable.

    Left out are caches, version control, virtual environments, and what `.fednignore` in the package folder names.
    """
    files = _files(project, without=destination.resolve())
    fresh = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    with _writing(destination.parent):
        try:
            with fresh.open("wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    for name, path in sorted(files.items()):
                        _add(tar, name, path)
                file.flush()
                os.fsync(file.fileno())
            digest = inspect(fresh).digest
            fresh.replace(destination)
        finally:
            fresh.unlink(missing_ok=True)
    return digest


def inspect(path: Path, *, limits: PackageLimits = LIMITS) -> PackageInfo:
    """Look into an archive without unpacking it. Raises PackageInvalid, NotFound."""
    digest, manifest, files = _digest(path), None, []
    for member in members(path, max_files=limits.max_files, max_bytes=limits.max_bytes):
        files.append((member.name, member.size))
        content = bytearray()
        for block in member.blocks():
            if member.name == FILE and len(content) <= MAX_BYTES:
                content += block
        if member.name == FILE:
            manifest = _manifest(bytes(content))
    if manifest is None:
        raise PackageInvalid(f"there is no {FILE} at the archive's root")
    return PackageInfo(digest, path.stat().st_size, tuple(files), manifest)


def unpack(archive: Path, digest: str, destination: Path, *, limits: PackageLimits = LIMITS) -> Manifest:
    """Unpack a package into the folder `destination`, which appears when it is complete.

    A folder that is there and holds the same files is left alone; any other is replaced.
    Raises DigestMismatch, PackageInvalid, NotFound, FolderUnusable.
    """
    found = _digest(archive)
    if found != digest:
        raise DigestMismatch(f"{archive} has sha256 {found}, not {digest}")
    with _writing(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
        try:
            names = []
            for member in members(archive, max_files=limits.max_files, max_bytes=limits.max_bytes):
                _write(member, fresh / member.name)
                names.append(member.name)
            if FILE not in names:
                raise PackageInvalid(f"there is no {FILE} at the archive's root")
            manifest = _manifest((fresh / FILE).read_bytes())
            _install(fresh, destination, names)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _files(project: Project, *, without: Path) -> Mapping[str, Path]:
    """The files that travel, by their name in the archive."""
    ignore = Ignore.of(project.package_dir)
    files = {name: path for name, path in _walk(project.package_dir, "", ignore) if path != without}
    return files | {FILE: project.folder / FILE}


def _walk(folder: Path, prefix: str, ignore: Ignore) -> Iterator[tuple[str, Path]]:
    for path in folder.iterdir():
        name, mode = prefix + path.name, path.lstat().st_mode
        if ignore.matches(name, folder=stat.S_ISDIR(mode)):
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, name + "/", ignore)
        elif stat.S_ISREG(mode):
            yield name, path
        else:
            wrong, kind = (PackageLink, "a symbolic link") if stat.S_ISLNK(mode) else (PackageDevice, "no plain file")
            raise wrong(f"{path} is {kind}; a package holds plain files only (.fednignore leaves it out)")


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise PackageInvalid(f"{path} cannot be read: {error.strerror}") from error
    with file:
        status = os.fstat(file.fileno())
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        tar.addfile(info, file)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None


def _manifest(content: bytes) -> Manifest:
    try:
        return Manifest.parse(content)
    except ConfigInvalid as error:
        raise PackageInvalid(f"in the package, {error.reason}") from error


def _write(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for block in member.blocks():
            file.write(block)
    path.chmod(0o755 if member.executable else 0o644)


def _install(fresh: Path, destination: Path, names: list[str]) -> None:
    """Give the unpacked folder its name; what is there may be in use, or broken by a power failure."""
    try:
        fresh.rename(destination)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if filecmp.cmpfiles(fresh, destination, names, shallow=False)[0] != names:
            broken = fresh.with_name(fresh.name + ".broken")
            destination.rename(broken)
            fresh.rename(destination)
            shutil.rmtree(broken)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(f"the folder {folder} cannot be written", error) from error
