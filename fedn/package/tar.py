"""Reading a tar archive that a stranger wrote: plain files and folders, or a refusal.

Everything that was ever abused is refused by its kind or its name before a byte of it is kept: links, devices,
paths that lead out, duplicates, sparse files, archives that grow without end when they are decompressed. What is
read at once is bounded, and so is the sum. Known are ustar, pax (path only) and GNU long names.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fedn.errors import PackageDevice, PackageInvalid, PackageLink, PackagePathOutside, PackageTooLarge

BLOCK_BYTES = 64 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_PATH_BYTES = 1000
MAX_PART_BYTES = 255
REFUSED: dict[bytes, tuple[type[PackageInvalid], str]] = {
    tarfile.LNKTYPE: (PackageLink, "a hard link"),
    tarfile.SYMTYPE: (PackageLink, "a symbolic link"),
    tarfile.CHRTYPE: (PackageDevice, "a device"),
    tarfile.BLKTYPE: (PackageDevice, "a device"),
    tarfile.FIFOTYPE: (PackageDevice, "a pipe"),
    tarfile.CONTTYPE: (PackageInvalid, "a contiguous file"),
    tarfile.GNUTYPE_SPARSE: (PackageInvalid, "a sparse file"),
    tarfile.GNUTYPE_LONGLINK: (PackageLink, "a link"),
}


@dataclass(frozen=True)
class Member:
    """A file of the archive; its bytes are read by `blocks`, before the next member is asked for."""

    name: str
    size: int
    executable: bool
    source: Source

    def blocks(self) -> Iterator[bytes]:
        """The bytes, in blocks."""
        left = self.size
        while left:
            block = self.source.read(min(left, BLOCK_BYTES))
            left -= len(block)
            yield block
        self.source.read(-self.size % tarfile.BLOCKSIZE)


class Source:
    """A stream that gives what is asked or refuses, and never more than the budget in sum."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, budget: int) -> None:
        self._stream = stream
        self._left = budget

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises PackageInvalid."""
        self._left -= size
        if self._left < 0:
            raise PackageTooLarge("the archive is larger than its limits allow")
        try:
            block = self._stream.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise PackageInvalid(f"the archive cannot be decompressed: {error}") from error
        if len(block) != size:
            raise PackageInvalid("the archive is truncated")
        return block


def members(path: Path, *, max_files: int, max_bytes: int) -> Iterator[Member]:
    """The files of the archive `path`, a .tar or .tar.gz, in its order. Raises PackageInvalid.

    A member's blocks must be exhausted before the next one is taken.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        # Headers come on top of the files' bytes: three of 512 and a long name at most for one file.
        source = Source(gzip.GzipFile(fileobj=file) if zipped else file, max_bytes + 4096 * (max_files + 2))
        seen: dict[PurePosixPath, bool] = {}
        size = 0
        for header, name in _headers(source):
            folder = header.type == tarfile.DIRTYPE
            where = _checked_name(name, folder=folder)
            _refuse_clash(where, folder, seen)
            size += header.size
            if len(seen) > max_files:
                raise PackageTooLarge(f"the archive has more than {max_files} files and folders")
            if size > max_bytes:
                raise PackageTooLarge(f"the archive unpacks to more than {max_bytes} bytes")
            if not folder:
                yield Member(str(where), header.size, bool(header.mode & 0o100), source)


def _headers(source: Source) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The headers of files and folders, each with its full name."""
    long_name: str | None = None
    while (header := _header(source)) is not None:
        match header.type:
            case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
                long_name = _pax_path(_extra(source, header)) or long_name
            case tarfile.XGLTYPE:
                _pax_path(_extra(source, header), applies_to_all=True)
            case tarfile.GNUTYPE_LONGNAME:
                long_name = _text(_extra(source, header).rstrip(b"\0"))
            case tarfile.REGTYPE | tarfile.AREGTYPE | tarfile.DIRTYPE:
                name, long_name = long_name or header.name, None
                yield header, name
            case other:
                wrong, what = REFUSED.get(other, (PackageInvalid, f"of the unknown type {other!r}"))
                raise wrong(f"{(long_name or header.name)[:200]!r} is {what}; only plain files may be in it")


def _header(source: Source) -> tarfile.TarInfo | None:
    """The next header, or None at the archive's end. A folder has no bytes, whatever its header says."""
    block = source.read(tarfile.BLOCKSIZE)
    if block.count(0) == tarfile.BLOCKSIZE:
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise PackageInvalid(f"not a tar archive: {error}") from error
    if header.size < 0 or (header.type == tarfile.DIRTYPE and header.size):
        raise PackageInvalid(f"{header.name[:200]!r} has an impossible size")
    return header


def _extra(source: Source, header: tarfile.TarInfo) -> bytes:
    if header.size > MAX_HEADER_BYTES:
        raise PackageInvalid("the archive has an extended header without reason")
    content = source.read(header.size)
    source.read(-header.size % tarfile.BLOCKSIZE)
    return content


def _pax_path(content: bytes, *, applies_to_all: bool = False) -> str | None:
    """The path in pax records, ``length key=value\\n`` each; a record that moves bytes about is refused."""
    path: str | None = None
    while content:
        digits, space, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        record = content[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if not space or not equals or len(content) < length or record[-1:] != b"\n":
            raise PackageInvalid("the archive has a damaged extended header")
        if key in (b"size", b"linkpath") or key.startswith(b"GNU.sparse") or (key == b"path" and applies_to_all):
            raise PackageInvalid(f"the archive sets {_text(key)[:80]!r} in an extended header")
        path = _text(value) if key == b"path" else path
        content = content[length:]
    return path


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PackageInvalid("the archive has a name that is not UTF-8") from None


def _checked_name(name: str, *, folder: bool) -> PurePosixPath:
    """The name as a path below the package's folder. Raises PackageInvalid for any other."""
    where = PurePosixPath(name)
    if where.is_absolute():
        raise PackagePathOutside(f"{name[:200]!r} is an absolute path")
    if ".." in where.parts:
        raise PackagePathOutside(f"{name[:200]!r} leads out of the package")
    if not name or not name.isprintable() or not (folder or where.name):
        raise PackageInvalid(f"{name[:200]!r} is no name for a file")
    if len(name.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in where.parts):
        raise PackageInvalid(f"the name {name[:60]!r}… is too long")
    return where


def _refuse_clash(where: PurePosixPath, folder: bool, seen: dict[PurePosixPath, bool]) -> None:
    """Note the name; `seen` says of each whether it is a folder. A folder may be named again, a file may not."""
    for parent in where.parents[:-1]:
        if not seen.setdefault(parent, True):
            raise PackageInvalid(f"{str(parent)!r} is a file and a folder")
    if where in seen and not (folder and seen[where]):
        raise PackageInvalid(f"{str(where)!r} is in the archive twice")
    seen[where] = folder
