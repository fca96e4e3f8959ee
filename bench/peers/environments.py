"""A virtual environment per peer, made when it is first asked for and kept: peers' dependencies exclude each other."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from bench.peers.stage import PeerFailedError

PLACE = Path.home() / ".cache" / "fedn-bench"
REQUIREMENTS = Path(__file__).with_name("requirements")
INSTALL_S = 900
TAIL_LETTERS = 800


def environment(name: str, place: Path = PLACE) -> Path:
    """Its folder, with what `requirements/<name>.txt` pins installed. Raises PeerFailedError with pip's message."""
    wanted = (REQUIREMENTS / f"{name}.txt").read_text()
    folder = place / name
    stamp = folder / "made-from.txt"
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs make it once
        if not stamp.exists() or stamp.read_text() != wanted:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "-r", str(REQUIREMENTS / f"{name}.txt")])
            stamp.write_text(wanted)
    return folder


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise PeerFailedError(f"not installed within {INSTALL_S} s: {' '.join(words[1:])}") from None
    if done.returncode != 0:
        raise PeerFailedError(f"not installed: {(done.stderr or done.stdout).strip()[-TAIL_LETTERS:]}")
