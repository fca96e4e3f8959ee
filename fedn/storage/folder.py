"""A role's own folder: made, proven writable, held by one process, with an identity that survives restarts."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from fedn.errors import Conflict, FolderUnusable, cannot_write

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def prepare(folder: Path) -> Path:
    """Make the folder and its parents and prove that it can be written. Raises FolderUnusable, DiskFull."""
    folder = folder.expanduser().absolute()
    probe = folder / f".probe-{uuid.uuid4().hex}"  # processes in containers share their ids
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise cannot_write(f"the folder {folder} cannot be used", error) from None
    return folder


def hold(folder: Path) -> int:
    """Lock the folder for this process until it ends; returns the descriptor.

    Raises Conflict when it is held, FolderUnusable where files cannot be locked.
    """
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FolderUnusable(f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another process works in the folder {folder}; give this one its own --dir") from None
    except OSError as error:
        os.close(descriptor)
        raise FolderUnusable(f"{path} cannot be locked: {error.strerror}") from None
    return descriptor


def hold_slot(folder: Path) -> tuple[Path, int]:
    """Hold the lowest of the folders 0, 1, … in `folder` that no other process holds; returns it and the descriptor.

    So processes that share a folder find their identities again, whichever starts first. Raises FolderUnusable.
    """
    for k in itertools.count():
        slot = prepare(folder / str(k))
        with contextlib.suppress(Conflict):
            return slot, hold(slot)
    raise AssertionError("counting does not end")


def identity(folder: Path) -> str:
    """The id that belongs to this folder; made once."""
    path = folder / "id"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text(uuid.uuid4().hex)
        fresh.replace(path)
    return path.read_text().strip()


@contextlib.contextmanager
def after_a_boot(folder: Path) -> Iterator[bool]:
    """Whether the machine was started anew since this block last ended well: what was not synced may be gone.

    True as well where the system does not say when it was started.
    """
    try:
        boot = BOOT_ID.read_text().strip()
    except OSError:
        yield True
        return
    path = folder / "boot"
    anew = not path.exists() or path.read_text().strip() != boot
    yield anew
    if anew:
        path.write_text(boot)
